"""Links of pages become links of the site, and Markdown in HTML is prepared."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docs.site import hooks

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "link", "leads_to"),
    [
        ("speed.md", "results.md", "results.md"),
        ("speed.md", "results/cost/rows.csv", "results/cost/rows.csv"),
        ("speed.md", "results/speed/others.py", "source/docs/results/speed/others.py.md"),
        ("speed.md", "results/demo", "results/demo/README.md"),
        ("speed.md", "../woof_lightning/loops/bare.py", "source/woof_lightning/loops/bare.py.md"),
        ("speed.md", "../woof_lightning/loops", "source/woof_lightning/loops/index.md"),
        ("speed.md", "../README.md", "index.md"),
        ("index.md", "docs/speed.md", "speed.md"),
        ("index.md", "LICENSE", "source/LICENSE.md"),
        ("speed.md", "../CONTRIBUTING.md", "CONTRIBUTING.md"),
        ("results/parity/README.md", "measure.py", "../../source/docs/results/parity/measure.py.md"),
        ("results/parity/README.md", "demo/bare/metrics.csv", "demo/bare/metrics.csv"),
        ("results/finetune/README.md", "../../../configs/finetune.yaml", "../../source/configs/finetune.yaml.md"),
        ("CHANGELOG.md", "docs/fine-tuning.md", "fine-tuning.md"),
        ("source/woof_lightning/loops/index.md", "bare.py", "bare.py.md"),
        # MkDocs reports it.
        ("speed.md", "nowhere.md", "nowhere.md"),
    ],
)
def test_a_link_leads_to_its_page(page: str, link: str, leads_to: str) -> None:
    assert hooks.relative_uri(link, page) == leads_to


def prepared(text: str, uri: str = "speed.md") -> str:
    page: Any = SimpleNamespace(file=SimpleNamespace(src_uri=uri))
    return hooks.on_page_markdown(text, page=page, config=None, files=None)


def test_markers_are_gone_and_code_stays() -> None:
    code = "````\n<!-- end -->\n```\n[x](../woof_lightning/loops/bare.py)\n````\n"
    text = f"<!-- generated: runs from results/demo -->\n| a |\n<!-- end -->\n{code}takes 1,2<!-- = x from y --> s"
    assert prepared(text) == f"\n| a |\n\n{code}takes 1,2 s"
    assert prepared("`<!-- = NAME -->`") == "`<!-- = NAME -->`"


def test_a_number_at_the_end_of_a_sentence_begins_no_list() -> None:
    assert prepared("- it takes 11 instead of\n  6<!-- = x from y -->. Then\n0.5<!-- = x from y -->. 6") == (
        "- it takes 11 instead of\n  6\\. Then\n0.5. 6"
    )


def test_links_keep_their_headings_and_other_sites_are_left_alone() -> None:
    assert prepared("[a](../docs/results.md#the-head) ![b](results/cost/share.png)") == (
        "[a](results.md#the-head) ![b](results/cost/share.png)"
    )
    for text in ("[a](https://example.org/docs/results.md)", "[a](#the-head)", "[a](mailto:a@example.org)"):
        assert prepared(text) == text


def test_markdown_in_boxes_is_read() -> None:
    text = '<details><summary>x</summary>\n\n<table><tr>\n<td valign="top">\n\n**a**\n\n</td>\n</tr></table>\n'
    found = prepared(text)
    assert "<details markdown><summary>x</summary>" in found
    assert "table" not in found
    assert found.count("<div") == found.count("</div>") == found.count(" markdown>") - 1


def test_only_what_exists_gets_a_page() -> None:
    text = "[a](../woof_lightning/loops/bare.py) [b](nowhere.py) [c](https://example.org)\n```\n[d](speed.md)\n```\n"
    assert list(hooks.targets("speed.md", text)) == ["woof_lightning/loops/bare.py"]


def test_a_source_page_shows_the_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text('x = """\n````\n"""\n', encoding="utf-8")
    assert (hooks.source_page("a.py") or "").endswith('# `a.py`\n\n`````python\nx = """\n````\n"""\n`````\n')
    (tmp_path / "b.bin").write_bytes(b"\xff\xfe\x00")
    assert hooks.source_page("b.bin") is None


def test_a_folder_s_page_lists_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    for name in ("b.py", "a.py", ".hidden"):
        (tmp_path / "room" / "__pycache__").mkdir(parents=True, exist_ok=True)
        (tmp_path / "room" / name).touch()
    assert (hooks.source_page("room") or "").endswith("# `room`\n\n- [`a.py`](a.py)\n- [`b.py`](b.py)\n")

"""The pages show the figures of the committed results, name files that exist, and options that are taken."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from woof_lightning.cost.parity import ARMS
from woof_lightning.lit.cli import known_keys
from woof_lightning.runs.pages import BLOCK, regenerated

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_figures_are_those_of_the_results(page: Path) -> None:
    assert regenerated(page) == page.read_text(), "run `make docs`"


def test_the_readme_has_figures() -> None:
    assert len(BLOCK.findall((ROOT / "README.md").read_text())) == 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_options_in_the_readme_are_known() -> None:
    named = set(re.findall(r"--((?:model|data|trainer)\.\w+)", (ROOT / "README.md").read_text()))
    assert named
    assert named <= set(known_keys())


def test_the_readme_s_script_runs(drawn_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shutil.copytree(drawn_root, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert "max_epochs=5" in script
    names: dict[str, Any] = {}
    exec(script.replace("max_epochs=5", "max_epochs=1, limit_train_batches=2"), names)
    assert 0 <= names["trainer"].callback_metrics["val/acc1"] <= 1


def test_results_come_with_their_config() -> None:
    for file in (ROOT / "docs" / "results").rglob("result.json"):
        config = yaml.safe_load((file.parent / "config.yaml").read_text())
        assert json.loads(file.read_text())["config"] == config
        assert (file.parent / "metrics.csv").is_file()


def test_no_image_is_committed_as_data() -> None:
    assert not [f for f in ROOT.joinpath("docs").rglob("*") if f.suffix.lower() in (".jpeg", ".jpg", ".npy", ".ckpt")]


def test_quoted_code_is_named_or_refused(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("class A:\n    def f(self) -> int:\n        return 1\n\n    x = 2\n")
    page = tmp_path / "page.md"
    page.write_text("<!-- generated: source from x.py::A.f -->\nold\n<!-- end -->\n")
    assert "```python\ndef f(self) -> int:\n    return 1\n```\n" in regenerated(page)
    page.write_text("<!-- generated: source from x.py::A.g -->\n<!-- end -->\n")
    with pytest.raises(KeyError):
        regenerated(page)


def test_every_loop_validates_alike() -> None:
    """The committed figures: equal to the last digit within a setting."""
    with (ROOT / "docs" / "results" / "parity" / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    settings = {row["setting"] for row in rows}
    assert "demo" in settings
    for setting in settings:
        found = {row["arm"]: (row["val_loss"], row["val_acc1"]) for row in rows if row["setting"] == setting}
        assert found.keys() == set(ARMS)
        assert len(set(found.values())) == 1, found

"""The pages show the figures of the committed results, name files that exist, and options that are taken."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from docs.generate.figures import CHANGES, DEMO_RUNS, FRONT, SPEED, front_fingerprint, rows_fingerprint, ways_together
from docs.generate.pages import BLOCK, PageError, pages, regenerated
from docs.generate.speed_tables import measured_folders
from woof_lightning.cli.lightning_cli import known_keys
from woof_lightning.cli.options import VERBS
from woof_lightning.compare.comparison import compare
from woof_lightning.compare.curves import fingerprint as line_fingerprint
from woof_lightning.cost.draw import fingerprint
from woof_lightning.cost.rows import RowsFile
from woof_lightning.cost.summary import summary
from woof_lightning.loops.ways import WAYS
from woof_lightning.runs.metrics import read_metrics

ROOT = Path(__file__).parents[1]
PAGES = pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_figures_are_those_of_the_results(page: Path) -> None:
    assert regenerated(page) == page.read_text(encoding="utf-8"), "run `make docs`"


def test_the_readme_has_figures_and_is_short() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert BLOCK.findall(readme)
    assert len(readme.splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target, heading in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not heading or heading in headings(file), f"{target}#{heading}"


def headings(page: Path) -> set[str]:
    """The names by which links reach a page's headings, as GitHub and MkDocs make them."""
    found = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_options_on_the_pages_are_known() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    named = {key for text in texts for key in re.findall(r"--((?:model|data|trainer)\.\w+)", text)}
    assert named
    assert named <= {*known_keys(), *(f"model.{own}" for own in ("alpha", "teacher", "trained"))}, "see docs/examples"


def test_verbs_and_configs_on_the_pages_are_known() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    commands = [line for text in texts for line in re.findall(r"^woof .*", text, re.MULTILINE)]
    assert {line.split()[1] for line in commands} == set(VERBS)
    configs = {name for line in commands for name in re.findall(r"--config (\w+)(?= |$)", line)}
    assert configs
    assert configs <= {file.stem for file in (ROOT / "configs").iterdir()}


def test_every_record_of_results_is_on_the_page_of_measurements() -> None:
    page = (ROOT / "docs" / "how-measured.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\((results/[^/)]+/README\.md)\)", page))
    assert linked == {file.relative_to(ROOT / "docs").as_posix() for file in ROOT.glob("docs/results/*/README.md")}


TARGETS = (
    *("demo", "setup", "lint", "check", "test", "test-site", "test-lesson", "test-slow", "properties"),
    *("site", "docs", "prose", "lock", "mutants", "clean"),
)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", TARGETS)
def test_the_commands_without_make_are_those_of_the_makefile(target: str) -> None:
    words = ["make", "--dry-run", "--always-make", "--no-print-directory", target]
    words += ["PYTHON=python", "VENV=.venv", "BIN=.venv/bin", "WORKERS=2"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=True)
    commands = [line.replace(".venv/bin/", "") for line in done.stdout.splitlines() if not line.startswith("touch ")]
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("### Without make\n")[2]
    listed = section.partition("```\n")[2].partition("```\n")[0].splitlines()
    assert commands
    assert [command for command in commands if command not in listed] == []
    assert {
        line.removeprefix("# make ").split(":")[0].split(";")[0] for line in listed if line.startswith("# make ")
    } == {*TARGETS}


def test_results_come_with_their_config() -> None:
    for file in (ROOT / "docs" / "results").rglob("result.json"):
        if file.parent.name == "lr_find":  # Its config is in it alone.
            continue
        config = yaml.safe_load((file.parent / "config.yaml").read_text(encoding="utf-8"))
        assert json.loads(file.read_text(encoding="utf-8"))["config"] == config
        assert (file.parent / "metrics.csv").is_file()


def test_no_image_is_committed_as_data() -> None:
    assert not [f for f in ROOT.joinpath("docs").rglob("*") if f.suffix.lower() in (".jpeg", ".jpg", ".npy", ".ckpt")]


def test_quoted_code_is_named_or_refused(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "class A:\n    def f(self) -> int:\n        return 1\n\n    x = 2\n", encoding="utf-8"
    )
    page = tmp_path / "page.md"
    page.write_text("<!-- generated: source from x.py::A.f -->\nold\n<!-- end -->\n", encoding="utf-8")
    assert "```python\ndef f(self) -> int:\n    return 1\n```\n" in regenerated(page)
    page.write_text("<!-- generated: source from x.py::A.g -->\n<!-- end -->\n", encoding="utf-8")
    with pytest.raises(PageError, match="page.md: source from x.py::A.g"):
        regenerated(page)


def test_a_value_is_the_number_before_its_comment(tmp_path: Path) -> None:
    for folder, train_s in (("a", 81.6), ("b", 12.2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "result.json").write_text(json.dumps({"train_s": train_s}), encoding="utf-8")
    of_a, of_b = "<!-- = train_s:. from a -->", "<!-- = train_s:. -->"
    text = f"<!-- values from b -->\n1 to [+7.5e-07{of_a} s](x), 3-4{of_b}|-1,234{of_a}, 5{of_b}.\n"
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    assert regenerated(page) == (f"<!-- values from b -->\n1 to [82{of_a} s](x), 3-12{of_b}|82{of_a}, 12{of_b}.\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1<!-- = no_such:value from . -->", "no_such:value from .: KeyError"),
        ("1<!-- = train_s:no_such from . -->", "train_s:no_such from .: FileNotFoundError"),
        ("1<!-- = train_s from . -->", "train_s from .: TypeError"),
        ("1<!-- = train_s:. -->", "train_s:. from no folder"),
        ("one <!-- = train_s:. from . -->", "train_s:. has no number"),
    ],
)
def test_a_value_that_cannot_be_made_names_page_and_value(text: str, problem: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(PageError, match=f"page.md: {problem}"):
        regenerated(page)


def test_the_first_figure_shows_the_committed_results() -> None:
    with Image.open(FRONT) as drawn:
        assert drawn.info["Description"] == front_fingerprint(), "run `make docs`"


def test_every_loop_validates_alike() -> None:
    """The committed figures: equal to the last digit within a setting."""
    with (ROOT / "docs" / "results" / "parity" / "rows.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    settings = {row["setting"] for row in rows}
    assert "demo" in settings
    for setting in settings:
        found = {row["way"]: (row["val_loss"], row["val_acc1"]) for row in rows if row["setting"] == setting}
        assert found.keys() == set(WAYS)
        assert len(set(found.values())) == 1, found


def test_the_readme_s_figure_shows_the_committed_runs() -> None:
    """Seven ways wrote the same metrics.csv, byte for byte; Lightning's events have float32 values."""
    metrics = {file.parent.name: file.read_bytes() for file in DEMO_RUNS.glob("*/metrics.csv")}
    assert metrics.keys() == set(WAYS) - {"lightning"}
    assert len(set(metrics.values())) == 1
    figure = ways_together(DEMO_RUNS)
    assert figure.axes[0].get_title() == f"One training, {len(WAYS)} ways: every line is the same"
    with Image.open(DEMO_RUNS / "top1.png") as drawn:
        assert drawn.info["Description"] == line_fingerprint(figure.axes[0]), "run `make docs`"


def test_the_figures_of_speed_show_the_committed_rows() -> None:
    folders = measured_folders(SPEED)
    assert folders
    for folder in folders:
        with Image.open(folder / "speed.png") as drawn:
            assert drawn.info["Description"] == rows_fingerprint(folder), "run `make docs`"


def test_the_figure_of_changes_shows_the_committed_rows() -> None:
    with Image.open(CHANGES / "heat_map.png") as drawn:
        assert drawn.info["Description"] == rows_fingerprint(CHANGES), "run `make docs`"


COST = ROOT / "docs" / "results" / "cost"


def test_the_cost_page_says_what_the_rows_say() -> None:
    found = json.loads((COST / "summary.json").read_text(encoding="utf-8"))
    conditions = json.loads((COST / "conditions.json").read_text(encoding="utf-8"))
    rows = RowsFile(COST / "rows.csv").read()
    # Through JSON, as it was written.
    assert found == json.loads(json.dumps(summary(rows, conditions)))
    assert found["refusals"] == []
    # A row names the machine, and the conditions have it.
    assert {row.machine for row in rows} == conditions["machines"].keys()
    figures = sorted(COST.glob("*.png"))
    assert [figure.name for figure in figures] == ["fixed.png", "share.png", "waterfall.png"]
    for figure in figures:
        assert fingerprint(found).encode() in figure.read_bytes(), f"run woof cost --summarise: {figure.name}"


POST = ROOT / "docs" / "results" / "imagewoof-128"
POST_IN_FP32 = POST.with_name("imagewoof-128-fp32")


def test_the_compared_runs_are_those_that_are_committed(tmp_path: Path) -> None:
    def drawn(figure: Path) -> str:
        with Image.open(figure) as image:
            return str(image.info["Description"])

    compare([POST], tmp_path)
    committed = POST / "compared"
    # The page is not committed: its parts are.
    drawn_now, there = ({f.name for f in folder.iterdir()} - {"index.html"} for folder in (tmp_path, committed))
    assert drawn_now == there
    for file in map(tmp_path.joinpath, drawn_now):
        same = drawn if file.suffix == ".png" else Path.read_bytes
        assert same(file) == same(committed / file.name), f"run `make docs`: {file.name}"


@pytest.mark.parametrize("folder", [POST, POST_IN_FP32], ids=lambda folder: folder.name)
def test_the_hand_rolled_loop_s_first_epochs_are_those_of_fit(folder: Path) -> None:
    fit, by_hand = (
        [row for row in read_metrics(folder / name / "metrics.csv") if row["epoch"] < 3]
        for name in ("adamw_onecycle", "adamw_onecycle-hand_rolled")
    )
    assert sum("val/acc1" in row for row in fit) == 3
    assert fit == by_hand


def test_events_are_small() -> None:
    events = list((ROOT / "docs").rglob("*tfevents*"))
    assert events
    assert max(file.stat().st_size for file in events) < 1e6


def test_every_leak_s_test_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", "".join(page.read_text(encoding="utf-8") for page in PAGES)))
    there = set(
        re.findall(
            r"^def (test_\w+)", "".join(f.read_text(encoding="utf-8") for f in ROOT.glob("tests/**/*.py")), re.MULTILINE
        )
    )
    assert len(named) > 20
    assert named <= there

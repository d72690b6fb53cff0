"""The pages show the figures of the committed results, name files that exist, and options that are taken."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from docs.generate.pages import BLOCK, pages, regenerated
from docs.generate.post_tables import POST_TOP1, validations
from woof_lightning.compare.comparison import compare
from woof_lightning.compare.read import TOP1
from woof_lightning.cost.draw import fingerprint
from woof_lightning.cost.measure import RowsFile
from woof_lightning.cost.parity import ARMS
from woof_lightning.cost.summary import summary
from woof_lightning.lit.cli import known_keys
from woof_lightning.lit.lr_suggestion import suggest
from woof_lightning.runs.lr_curve import read_lr_curve
from woof_lightning.runs.metrics import read_metrics

ROOT = Path(__file__).parents[1]
PAGES = pages()


def words_of(page: str) -> str:
    """A page's text with one space between words, however its lines are broken."""
    return " ".join((ROOT / page).read_text().split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_figures_are_those_of_the_results(page: Path) -> None:
    assert regenerated(page) == page.read_text(), "run `make docs`"


def test_the_readme_has_figures() -> None:
    assert len(BLOCK.findall((ROOT / "README.md").read_text())) == 4


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
        if file.parent.name == "lr_find":  # Its config is in it alone.
            continue
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


COST = ROOT / "docs" / "results" / "cost"
WATERFALL_STEP = ("waterfall", "step_us")
COST_ON_XEON = COST.with_name("cost-intel-xeon")
BARE_AT_128_PX = ("bare", "resnet18 128 px", "step_us")
# A promise is kept where a difference is below its limit, or too small to be told.
KEPT = {"met", "not told apart"}


@pytest.mark.parametrize(
    ("folder", "figures_there"),
    [(COST, ["fixed.png", "share.png", "waterfall.png"]), (COST_ON_XEON, ["fixed.png", "share.png"])],
)
def test_the_cost_page_says_what_the_rows_say(folder: Path, figures_there: list[str]) -> None:
    found = json.loads((folder / "summary.json").read_text())
    conditions = json.loads((folder / "conditions.json").read_text())
    # Through JSON, as it was written.
    assert found == json.loads(json.dumps(summary(RowsFile(folder / "rows.csv").read(), conditions)))
    assert found["refusals"] == []
    assert {bound["verdict"] for bound in found["bounds"] if "taken out" not in bound["promise"]} <= KEPT
    figures = sorted(folder.glob("*.png"))
    assert [figure.name for figure in figures] == figures_there
    for figure in figures:
        assert fingerprint(found).encode() in figure.read_bytes(), f"run woof cost --summarise: {figure.name}"


def test_the_words_of_the_cost_page_hold() -> None:
    found = json.loads((COST / "summary.json").read_text())
    text = words_of("docs/abstraction-cost.md")
    value = {(e["arm"], e["measure"]): e["median"] for e in found["estimates"] if e["condition"] in ("step", "counted")}
    lines = {arm: lines for (arm, measure), lines in value.items() if measure == "logical_lines"}
    names = {arm: names for (arm, measure), names in value.items() if measure == "framework_names"}
    assert min(lines, key=lambda arm: lines[arm]) == "bare"
    loops = {arm: count for arm, count in lines.items() if not arm.startswith("lightning")}
    assert max(loops, key=lambda arm: loops[arm]) == "hand_rolled"
    assert loops["hand_rolled"] > 2 * lines["bare"]
    assert max(lines, key=lambda arm: lines[arm]) == max(names, key=lambda arm: names[arm]) == "lightning"
    assert f"({lines['lightning_usual']:.0f} lines against {lines['bare']:.0f})" in text
    assert f"The {lines['lightning']:.0f} of `woof fit`" in text
    assert value["lightning", "traceback_user_frames"] <= 0.1 * value["lightning", "traceback_frames"]
    calls = (f"{value[arm, 'calls']:.0f}" for arm in ("lightning", "bare"))
    assert "makes {} Python calls outside torch and this project where the bare loop makes {},".format(*calls) in text
    files = (f"{value[arm, 'framework_files']:.0f}" for arm in ("lightning", "bare"))
    assert "enters {} files of libraries (the bare loop: {})".format(*files) in text


def test_the_times_in_words_of_the_cost_page_hold() -> None:
    found = json.loads((COST / "summary.json").read_text())
    text = words_of("docs/abstraction-cost.md")
    over = {(e["arm"], e["condition"], e["measure"]): e["over"] for e in found["estimates"]}
    steps = {arm: that for (arm, condition, measure), that in over.items() if (condition, measure) == WATERFALL_STEP}
    added = {arm: that["median"] for arm, that in steps.items() if that}
    lightning = {arm: us for arm, us in added.items() if arm.startswith("lightning:") and arm != "lightning:alone"}
    costly = sorted(lightning, key=lambda arm: -lightning[arm])
    assert costly[:2] == ["lightning:torchmetrics", "lightning:logged_value"]
    assert lightning[costly[2]] < 100
    assert 0.35 < added["hand:torchmetrics"] / added["lightning:torchmetrics"] < 0.5
    verdicts = [bound["verdict"] for bound in found["bounds"] if "taken out" not in bound["promise"]]
    assert len(verdicts) == 3
    assert set(verdicts) <= KEPT
    assert f"`self.log` ({lightning['lightning:logged_value']:.0f} µs for one value at each step)" in text
    assert f"(two: {added['hand:torchmetrics']:.0f} µs in a loop by hand)" in text
    barebones, no_search = (
        over[arm, "off", "step_us"]["median"] for arm in ("lightning_barebones", "lightning_barebones_no_search")
    )
    assert f"{barebones - no_search:.0f} of the {barebones:.0f} µs of barebones" in text
    assert 0 < over["lightning", "start", "first_step_s"]["median"] < 1
    over_bare = over["lightning", "on", "step_us"]["median"]
    (step_us,) = (e["median"] for e in found["estimates"] if (e["arm"], e["condition"], e["measure"]) == BARE_AT_128_PX)
    told = f"a fixed {over_bare / 1e3:.3g} ms of a step that takes {step_us / 1e3:.0f} ms"
    assert told in text
    assert f"is {100 * over_bare / step_us:.1g} %" in text
    costs = f"{over_bare:.0f} µs a step over the bare loop"
    assert costs in words_of("docs/reliability.md")
    assert f"(its own cost {over['bare', 'on', 'step_us']['median']:.0f} µs)" in text
    (bound,) = (bound["value"] for bound in found["bounds"] if "taken out" in bound["promise"])
    assert f"else [{bound['low']:.2g} to {bound['high']:.2g} times]" in text
    readme = words_of("README.md")
    on_xeon = json.loads((COST_ON_XEON / "summary.json").read_text())["estimates"]
    (xeon,) = (e["over"] for e in on_xeon if (e["arm"], e["measure"]) == ("lightning", "step_us"))
    assert f"an earlier commit's `woof fit` cost [{xeon['median']:.0f} µs]" in readme
    assert f"whose own cost {over['bare', 'on', 'step_us']['median']:.0f} µs" in readme
    early = over["bare_early_zero_grad", "resnet18 128 px", "step_us"]["share"]
    told = "{:.0f} % slower at 128 px ({:.1f} to {:.1f})".format(*(100 * early[k] for k in ("median", "low", "high")))
    assert told in text


def test_the_memory_in_words_of_the_cost_page_holds() -> None:
    found = json.loads((COST / "summary.json").read_text())
    text = words_of("docs/abstraction-cost.md")
    over = {(e["arm"], e["condition"]): e["over"] for e in found["estimates"] if e["measure"] == "peak_rss_mb"}
    smallest, *real = (over["lightning", c] for c in ("on", "resnet18 64 px", "resnet18 128 px"))
    assert all(that["median"] <= smallest["median"] for that in real)
    assert f"came to {over['lightning_usual', 'resnet18 64 px']['median']:.0f} MB at 64 px" in text
    assert over["bare_early_zero_grad", "resnet18 128 px"]["verdict"] == "faster"


def test_the_words_of_the_finders_page_hold() -> None:
    folder = ROOT / "docs" / "results" / "lr_find"
    with (folder / "suggestions.csv").open(newline="") as file:
        all_rows = list(csv.DictReader(file))
    rows = [row for row in all_rows if row["outputs"] == "10"]
    text = words_of("docs/lr-find.md")
    for finder, words in (("woof_steepest", "it lay between {} and {}"), ("woof_valley", "`valley` between {} and {}")):
        rates = [float(r["suggestion"]) for r in rows if (r["optimizer"], r["finder"]) == ("sgd", finder)]
        assert len(rates) == 5
        assert words.format(f"{min(rates):.2g}", f"{max(rates):.2g}") in text
    heads = {
        r["optimizer"]: float(r["suggestion"])
        for r in all_rows
        if (r["outputs"], r["finder"]) == ("1000", "woof_steepest")
    }
    assert "at {adamw:.2g} with AdamW and {sgd:.2g} with SGD".format(**heads) in text
    with (folder / "training.csv").open(newline="") as file:
        loss = {(r["optimizer"], r["finder"]): float(r["loss_last_epoch"]) for r in csv.DictReader(file)}
    assert loss["adamw", "woof_steepest"] < min(loss["adamw", other] for other in ("woof_valley", "lightning", "post"))
    others = [value for (optimizer, finder), value in loss.items() if optimizer == "sgd" and finder != "post"]
    assert loss["sgd", "post"] < min(others) - 0.1
    assert loss["sgd", "woof_valley"] < min(loss["sgd", other] for other in ("woof_steepest", "lightning"))
    for seed in range(5):
        curves = [folder / "curves" / f"woof-{name}-10-seed{seed}.csv" for name in ("adamw", "sgd")]
        assert [suggest(read_lr_curve(file)).suggested_by for file in curves] == ["steepest", "valley"]


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
        same = drawn if file.suffix == ".png" else Path.read_text
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


def test_the_words_of_the_results_page_hold() -> None:
    text = words_of("docs/results.md")
    done = [name for name in POST_TOP1 if (POST / name / "result.json").exists()]
    best = {name: json.loads((POST / name / "result.json").read_text())["best"] for name in done}
    top1 = {name: best[name]["val/acc1"] for name in done}
    assert f"+{100 * (top1['adamw_onecycle'] - top1['sgd_step']):.1f} points here, +13.6 in the post" in text
    assert f"gains +{100 * (top1['sgd_step_found_lr'] - top1['sgd_step']):.1f} here, +9.0 in the post" in text
    steps, cycle = "sgd_step_found_lr", "sgd_onecycle"
    assert f"{100 * (top1[cycle] - top1[steps]):+.1f} points over steps at the same peak of 0.02, +1.5 in" in text
    assert f"{100 * (top1['adamw_onecycle'] - top1[cycle]):+.1f} points over SGD with one-cycle, +3.1 in" in text
    less = enumerated(f"{100 * (POST_TOP1[name] - top1[name]):.1f}" for name in done)
    theirs = enumerated(f"{POST_TOP1[name]:.3g}" for name in done)
    here = enumerated(f"{top1[name]:.3f}" for name in done)
    assert f"{here} here, where the post has {theirs}: {less} points less" in text
    top5 = [best[name]["val/acc5"] for name in (done[0], done[-1])]
    assert f"is {top5[0]:.3f} in the first experiment, of which the post says about 0.96, and {top5[1]:.3f} in" in text
    in_fp32 = {name: best_top1(POST_IN_FP32 / name / "result.json") for name in ("sgd_step", "adamw_onecycle")}
    assert f"top-1 [{enumerated(f'{value:.3f}' for value in in_fp32.values())}](" in text
    assert f"{enumerated(f'{100 * (in_fp32[name] - top1[name]):+.1f}' for name in in_fp32)} points. AdamW's" in text
    assert f"{100 * (0.799 - top1['adamw_onecycle']):.1f} points above." in text
    assert top1["adamw_onecycle"] > 0.799 - 0.015
    epochs = {name: validations(POST / name) for name in done}
    rates = {name: [row["lr"] for row in read_metrics(POST / name / "metrics.csv") if "lr" in row] for name in done}
    rate, rate_of_steps = (sum(rates[name]) / len(rates[name]) for name in (cycle, steps))
    assert f"mean rate is {rate:.4f}, that of steps {rate_of_steps:.4f}" in text
    trained, validated = (
        [epochs[name][39][loss] for name in (cycle, steps)] for loss in ("train/loss_epoch", "val/loss")
    )
    assert f"last epoch {enumerated(f'{loss:.3f}' for loss in trained)}" in text
    assert f"validation loss {enumerated(f'{loss:.3f}' for loss in validated)})" in text
    stepped = [epochs["sgd_step"], epochs[steps]]
    (before, after), (before_found, after_found) = ((rows[29][TOP1], rows[30][TOP1]) for rows in stepped)
    assert f"from {before:.3f} to {after:.3f} (0.1) and from {before_found:.3f} to {after_found:.3f} (0.02)" in text
    later = enumerated(f"{100 * (max(row[TOP1] for row in rows.values()) - rows[30][TOP1]):.1f}" for rows in stepped)
    assert f"by {later} points more in the nine" in text
    seen = enumerated(f"{rows[39]['train/acc1_epoch']:.3f}" for rows in epochs.values())
    assert f"(every tenth of 71; crops and flips) is {seen}." in text
    for rows in epochs.values():
        assert min(rows, key=lambda epoch: rows[epoch]["val/loss"]) >= 35


def test_the_words_on_the_head_hold() -> None:
    text = words_of("docs/results.md")
    results = POST.parent
    of_10 = [best_top1(file) for file in sorted(results.glob("imagewoof-128-20epochs/seed*/result.json"))]
    of_1000 = best_top1(results / "imagewoof-128-20epochs-head1000" / "seed0" / "result.json")
    assert min(of_10) < of_1000 < max(of_10)
    assert f"comes to {of_1000:.3f}: {100 * (of_1000 - of_10[0]):+.1f} points over the same seed with 10" in text
    assert f"three seeds, which spread over {100 * (max(of_10) - min(of_10)):.1f}" in text


def best_top1(file: Path) -> float:
    """The best top-1 that a result.json holds."""
    return float(json.loads(file.read_text())["best"][TOP1])


def enumerated(words: Iterable[str]) -> str:
    """a, b and c."""
    *others, last = words
    return f"{', '.join(others)} and {last}"


def test_every_leak_s_test_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", "".join(page.read_text() for page in PAGES)))
    there = set(
        re.findall(r"^def (test_\w+)", "".join(f.read_text() for f in ROOT.glob("tests/**/*.py")), re.MULTILINE)
    )
    assert len(named) > 20
    assert named <= there

"""Tests of the page of `woof compare`, opened from the disk in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.compare.browser import look_at
from tests.compare.runs import write_events, write_run
from woof_lightning.compare.charts import COLOURS_ON_DARK
from woof_lightning.compare.comparison import compare
from woof_lightning.compare.draw import COLOURS

in_a_browser = [pytest.mark.browser, pytest.mark.process]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of five runs: b and c are equal, a has another learning rate, d has no accuracy, e a single epoch."""
    folder = tmp_path_factory.mktemp("compared")
    runs = folder / "runs"
    write_run(runs / "a", [0.3, 0.4, 0.35], lr=9)
    write_run(runs / "<!--<script>b", [0.61, 0.62, 0.7], lr=10)
    write_run(runs / "c", [0.61, 0.62, 0.7], lr=10, momentum=0.8)
    write_events(runs / "d", {"train_loss": [(1, 2.0), (2, 1.0)]})
    write_run(runs / "e", [0.9], reports=1, finished=False, lr="auto")
    (runs / "a" / "lr_find").mkdir()
    (runs / "a" / "lr_find" / "curve.csv").write_text(
        "lr,loss,raw_loss\n1e-3,2.3,2.4\n1e-2,2.0,2.1\n", encoding="utf-8"
    )
    compare([runs], folder / "out")
    return folder / "out" / "index.html"


SORT = """
const [results, settings] = tables();
found.runs = cells(results, "run");
sort(results, "best top-1"); found.rising = cells(results, "best top-1");
sort(results, "best top-1"); found.falling = cells(results, "best top-1");
found.marked = results.querySelectorAll("[aria-sort=descending]").length;
sort(results, "run"); found.sorted = cells(results, "run");
sort(settings, "model.lr"); found.numbers = cells(settings, "model.lr");
sort(settings, "model.lr"); found.fallingNumbers = cells(settings, "model.lr");
found.wider = document.documentElement.scrollWidth - innerWidth;
found.width = innerWidth;
found.charts = plots.map(plot => plot.name);
found.fetched = performance.getEntriesByType("resource").map(entry => entry.name);
"""


@pytest.mark.browser
@pytest.mark.process
def test_tables_sort_and_nothing_is_fetched(chromium: str, page: Path, tmp_path: Path) -> None:
    found, console = look_at(chromium, page, SORT, tmp_path)
    assert found["errors"] == []
    assert found["runs"] == ["<!--<script>b", "a", "c", "d", "e"]
    # Empty cells come last in both directions.
    assert found["rising"] == ["0.400", "0.700", "0.700", "0.900", ""]
    assert found["falling"] == ["0.900", "0.700", "0.700", "0.400", ""]
    assert found["marked"] == 1
    assert found["sorted"] == ["<!--<script>b", "a", "c", "d", "e"]
    assert found["numbers"] == ["9", "10", "10", "auto", ""]
    assert found["fallingNumbers"] == ["auto", "10", "10", "9", ""]
    assert found["charts"] == ["top1", "top5", "loss", "lr", "momentum", "top1_over_time", "lr_find"]
    assert found["fetched"] == []
    assert "CONSOLE" not in console


HIDE = """
const results = tables()[0], curves = name => drawn(name).map(curve => curve.label);
found.before = curves("top1");
found.equal = [legend("top1"), rowOf(results, "c").cells[0].innerText.includes("equal"),
  rowOf(results, "a").cells[0].innerText.includes("equal"), document.querySelector(".equal-runs").innerText];
await press(results, "<!--<script>b");
found.half = drawn("top1").map(curve => [curve.label, curve.colour]);
await press(document.querySelector("#chart-top1 + .legend"), "c");
found.after = plots.map(plot => [plot.name, curves(plot.name)]);
const isMarked = (table, run) => seen(rowOf(table, run).querySelector(".mark"));
found.rows = tables().map(table => ["<!--<script>b", "a", "c"].map(run => isMarked(table, run)));
found.says = document.querySelector("#hidden-runs").innerText;
document.querySelector("#hidden-runs button").click();
await pause();
found.again = curves("top1");
found.gone = !seen(document.querySelector("#hidden-runs"));
await press(results, "c", true);
found.alone = curves("top1");
"""


@pytest.mark.browser
@pytest.mark.process
def test_a_run_is_hidden_everywhere(chromium: str, page: Path, tmp_path: Path) -> None:
    found, console = look_at(chromium, page, HIDE, tmp_path)
    assert found["errors"] == []
    both = "<!--<script>b = c (equal)"
    assert sorted(found["before"]) == sorted([both, "a", "e"])
    assert found["equal"][:3] == [["<!--<script>b = c equal", "a", "e"], True, False]
    assert found["equal"][3].startswith("2 runs are equal: <!--<script>b = c. They have the same top-1")
    # Half of an equal pair leaves the other, in its own colour.
    assert ["c", COLOURS[2]] in found["half"]
    assert [both, "<!--<script>b"] not in found["half"]
    after = dict(found["after"])
    assert sorted(after["top1"]) == ["a", "e"]
    assert after["lr_find"] == ["a"]
    assert all(not any("b" in label or "c" in label for label in labels) for labels in after.values())
    assert found["rows"] == [[True, False, True]] * 2
    assert found["says"] == "2 runs are hidden. Show all"
    assert found["again"] == found["before"]
    assert found["gone"]
    assert found["alone"] == ["c"]
    assert "CONSOLE" not in console


POINT = """
await point("top1", 2, 0.4); found.line = tips();
await point("top1", 1, 0.9); found.dot = tips();
await point("top1", 2.1, 0.619); found.equal = tips();
await point("loss", 3, 1.9); found.nothing = tips();
await point("loss", 8, drawn("loss").find(curve => curve.label.includes("= c")).y[3]); found.loss = tips();
await point("lr_find", 0.001, 2.3); found.sweep = tips();
found.ticks = ["top1", "lr"].map(ticks);
const {x_range} = chart("top1").model;
await mouse("top1", [1.9, 0.9, "pointerdown"], [2.3, 0.6], [2.5, 0.5, "pointerup"]);
found.near = [x_range.start, x_range.end, ticks("top1")];
await mouse("top1", [2.1, 0.6, "pointerdown", "pointerup", "pointerdown", "pointerup"]);
found.far = [x_range.start, x_range.end].map(Math.round);
"""


@pytest.mark.browser
@pytest.mark.process
def test_a_curve_tells_its_values_and_ticks_are_whole(chromium: str, page: Path, tmp_path: Path) -> None:
    found, console = look_at(chromium, page, POINT, tmp_path)
    assert found == {
        "line": ["a\nepoch 2, step 8\ntop-1 0.4"],
        "dot": ["e\nepoch 1, step 4\ntop-1 0.9"],
        "equal": ["<!--<script>b = c (equal)\nepoch 2, step 8\ntop-1 0.62"],
        "nothing": [],
        # The epochs of d are unknown, so the losses are over steps.
        "loss": ["<!--<script>b = a = c (equal)\nstep 8\nsmoothed loss 0.49123, reported 0.25"],
        "sweep": ["a\nlearning rate 0.001\nloss 2.3"],
        "ticks": [[1, 2, 3], [1, 2, 3]],
        "near": [pytest.approx(1.9), pytest.approx(2.5), [2]],
        "far": [1, 3],
        "errors": [],
    }
    assert "CONSOLE" not in console


NARROW = """
found.width = innerWidth;
found.wider = document.documentElement.scrollWidth - innerWidth;
found.charts = [...document.querySelectorAll(".chart")].map(one => one.getBoundingClientRect().right <= innerWidth);
found.ground = getComputedStyle(document.body).backgroundColor;
found.text = getComputedStyle(document.body).color;
found.colours = drawn("top1").map(curve => curve.colour);
found.axis = chart("top1").model.below[0].major_label_text_color;
document.documentElement.style.setProperty("--quiet", "#123456");
media.find(({media}) => media.includes("dark")).dispatchEvent(new Event("change"));
found.switched = chart("top1").model.below[0].major_label_text_color;
const {matches} = matchMedia("(pointer: coarse)");
found.touch = [matches, chart("top1").model.toolbar.active_drag, seen(document.querySelector(".mouse"))];
"""


@pytest.mark.browser
@pytest.mark.process
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_in_light_and_dark(chromium: str, page: Path, dark: bool, tmp_path: Path) -> None:
    found, console = look_at(chromium, page, NARROW, tmp_path, width_px=400, dark=dark, touch=True)
    assert found["errors"] == []
    assert found["width"] == 400
    assert found["wider"] <= 0
    assert found["charts"] == [True] * 7
    ground, text = (sum(map(int, re.findall(r"\d+", found[name])[:3])) / 3 for name in ("ground", "text"))
    assert (ground < 60 and text > 200) if dark else (ground > 200 and text < 60)
    assert found["axis"] == ("#9aa4ae" if dark else "#59636e")
    assert found["switched"] == "#123456"
    # A finger's drag scrolls.
    assert found["touch"] == [True, None, False]
    assert set(found["colours"]) < set(COLOURS_ON_DARK if dark else COLOURS)
    assert "CONSOLE" not in console


ASK = """
for (const url of ["https://example.org/x.js", "page.css"]) {
  const script = document.createElement("script");
  script.src = url;
  document.head.append(script);
}
found.answer = await fetch("https://example.org/").then(() => "fetched", () => "refused");
await pause();
"""


@pytest.mark.browser
@pytest.mark.process
def test_the_browser_refuses_every_request_of_the_page(chromium: str, page: Path, tmp_path: Path) -> None:
    found, _ = look_at(chromium, page, ASK, tmp_path)
    assert found["answer"] == "refused"
    assert len(found["errors"]) == 3
    assert all(error.startswith("blocked: ") for error in found["errors"])


def test_the_page_is_self_contained(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="([^"]{0,10})|@import', text)
    assert named == ["data:,"]
    assert len(text) < 2e6

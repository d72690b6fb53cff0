"""Tests of the page of `woof compare`, opened from the disk in a real browser."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compare.runs import write_events, write_run
from woof_lightning.compare.comparison import compare

# Clicks like a user, and writes what it found into the page.
LOOK = """<script>
const errors = [];
addEventListener("error", event => errors.push(event.message));
addEventListener("load", () => {
  const table = document.querySelector("table");
  const column = name => [...table.rows[0].cells].findIndex(cell => cell.textContent === name);
  const cells = name => [...table.tBodies[0].rows].map(row => row.cells[column(name)].textContent);
  const click = name => table.rows[0].cells[column(name)].firstChild.click();
  const found = {runs: cells("run")};
  click("best top-1"); found.rising = cells("best top-1");
  click("best top-1"); found.falling = cells("best top-1");
  found.marked = table.querySelectorAll("[aria-sort=descending]").length;
  click("run"); found.sorted = cells("run");
  const settings = document.querySelectorAll("table")[1];
  settings.querySelectorAll("button")[1].click();
  found.settings = [...settings.tBodies[0].rows].map(row => row.cells[1].textContent);
  found.images = [...document.images].map(image => image.complete && image.naturalWidth > 300);
  found.wider = document.documentElement.scrollWidth - innerWidth;
  found.width = innerWidth;
  found.errors = errors;
  const place = document.createElement("pre");
  place.id = "found";
  place.textContent = JSON.stringify(found);
  document.body.append(place);
});
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser; the test is skipped if there is none, unless WOOF_BROWSER requires one."""
    found = shutil.which(os.environ.get("WOOF_BROWSER", "chromium"))
    if found is None:
        assert "WOOF_BROWSER" not in os.environ, "WOOF_BROWSER names no program"
        pytest.skip("chromium is not installed")
    return found


def seen_by(chromium: str, page: Path, width_px: int, profile: Path) -> tuple[dict[str, Any], str]:
    """Returns what LOOK found in a page, and the messages of the browser's console."""
    looked = page.with_name("looked.html")
    looked.write_text(page.read_text().replace("<head>", f"<head>{LOOK}"))
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", f"--user-data-dir={profile}", f"--window-size={width_px},900"),
            *("--virtual-time-budget=5000", "--dump-dom", looked.resolve().as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    return dict(json.loads(html.unescape(found))), done.stderr


@pytest.mark.browser
@pytest.mark.process
@pytest.mark.parametrize("width_px", [1300, 500])
def test_the_page_works_in_a_browser(chromium: str, width_px: int, tmp_path: Path) -> None:
    for name, top1, lr in (("<b>b", [0.61], 0.5), ("a", [0.3, 0.4], 0.25)):
        write_run(tmp_path / "runs" / name, top1, lr=lr)
    write_events(tmp_path / "runs" / "c", {"train_loss": [(1, 2.0), (2, 1.0)]})
    sweep = tmp_path / "runs" / "a" / "lr_find"
    sweep.mkdir()
    (sweep / "curve.csv").write_text("lr,loss,raw_loss\n1e-3,2.3,2.4\n1e-2,2.0,2.1\n")
    compare([tmp_path / "runs"], tmp_path / "out")
    found, console = seen_by(chromium, tmp_path / "out" / "index.html", width_px, tmp_path / "profile")
    assert found["runs"] == ["<b>b", "a", "c"]
    # Empty cells come last in both directions.
    assert found["rising"] == ["0.400", "0.610", ""]
    assert found["falling"] == ["0.610", "0.400", ""]
    assert found["marked"] == 1
    assert found["sorted"] == ["<b>b", "a", "c"]
    assert found["settings"] == ["0.25", "0.5", ""]
    assert found["images"] == [True] * 7
    assert found["errors"] == []
    assert found["wider"] <= 0
    assert found["width"] <= width_px
    assert "CONSOLE" not in console


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.3, 0.4])
    compare([tmp_path / "a"], tmp_path / "out")
    page = tmp_path / "out" / "index.html"
    named = re.findall(r'(?:src|href)="([^"]{0,10})|url\(|@import', page.read_text())
    assert named
    assert all(name.startswith("data:") for name in named)
    assert page.stat().st_size < 3e6

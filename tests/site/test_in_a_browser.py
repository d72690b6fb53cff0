"""The site in a real browser without a network: content, search, a phone's width, dark mode."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.compare.browser import found_at
from tests.site.built import pages
from tests.site.conftest import PAUSE, Server

pytestmark = [pytest.mark.site, pytest.mark.process, pytest.mark.browser]
# No name but that of this machine has an address.
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
FRAME = """<!doctype html><body style="margin: 0"><iframe width="{width_px}" height="2500"></iframe><script>
const frame = document.querySelector("iframe"), found = {{}};
const pause = () => fetch("{pause}");
const open = place => new Promise(done => {{
  frame.onload = () => pause().then(() => done(frame.contentDocument));
  frame.src = place;
}});
(async () => {{ {look} }})().catch(error => {{ found.failed = String(error.stack); }}).then(() => {{
  const place = document.createElement("pre");
  place.id = "found";
  place.textContent = JSON.stringify(found);
  document.body.append(place);
}});
</script>"""


def look_at(chromium: str, server: Server, look: str, scratch: Path, width_px: int, **user: Any) -> dict[str, Any]:
    server.frame = FRAME.format(width_px=width_px, pause=PAUSE, look=look).encode()
    found, console = found_at(chromium, server.address, scratch, OFFLINE, most_s=230, **user)
    assert "failed" not in found, found["failed"]
    assert "Uncaught" not in console, console
    return found


HOME = """
const page = await open("/index.html");
found.heading = page.querySelector("h1").innerText;
found.shown = page.querySelector("article").innerText.length;
found.fetched = frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name);
page.addEventListener("securitypolicyviolation", event => { found.blocked = event.blockedURI; });
found.answer = await frame.contentWindow.fetch("https://example.org/").then(() => "fetched", () => "refused");
await pause();
"""


def test_the_home_page_is_shown_and_asks_nobody_else(chromium: str, server: Server, tmp_path: Path) -> None:
    found = look_at(chromium, server, HOME, tmp_path, 1300)
    assert found["heading"]
    assert found["shown"] > 100
    assert found["fetched"]
    assert all(re.match(r"http://127\.0\.0\.1:|data:|blob:", place) for place in found["fetched"])
    assert found["answer"] == "refused"
    assert found["blocked"].startswith("https://example.org")


SEARCH = """
const page = await open("/index.html?q=driver");
const query = page.querySelector("[data-md-component=search-query]");
for (let tries = 0; tries < 300; tries++) {
  query.value = "driver";
  query.dispatchEvent(new frame.contentWindow.KeyboardEvent("keyup", {bubbles: true}));
  await pause();
  found.links = [...page.querySelectorAll(".md-search-result__link")].map(link => link.href);
  if (found.links.length) break;
}
"""


def test_the_search_finds_the_page_of_the_cost(chromium: str, server: Server, tmp_path: Path) -> None:
    links = look_at(chromium, server, SEARCH, tmp_path, 1300)["links"]
    assert any("/abstraction-cost/" in link for link in links)
    # Pages with the source of a file would bury the others.
    assert not [link for link in links if "/source/" in link]


WIDTHS = """
found.wider = {};
for (const place of %s) {
  const page = await open(place);
  const past = page.documentElement.scrollWidth - frame.contentWindow.innerWidth;
  if (past > 0) found.wider[place] = past;
}
"""


def test_every_page_fits_a_phone(chromium: str, server: Server, site: Path, tmp_path: Path) -> None:
    places = [f"/{page.relative_to(site)}" for page in pages(site) if not page.is_relative_to(site / "source")]
    places += ["/source/woof_lightning/loops/bare.py/index.html"]
    assert len(places) > 40
    found = look_at(chromium, server, WIDTHS % places, tmp_path, 400, touch=True)
    assert found["wider"] == {}


SCHEME = """
const page = await open("/keys/index.html");
found.scheme = page.body.dataset.mdColorScheme;
const style = frame.contentWindow.getComputedStyle(page.body);
found.colours = [style.backgroundColor, style.color];
found.toggles = page.querySelectorAll("[data-md-component=palette] input").length;
"""


@pytest.mark.parametrize("dark", [False, True])
def test_it_follows_the_system_s_dark_mode(chromium: str, server: Server, dark: bool, tmp_path: Path) -> None:
    found = look_at(chromium, server, SCHEME, tmp_path, 1300, dark=dark)
    assert found["scheme"] == ("slate" if dark else "default")
    ground, text = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in found["colours"])
    assert (ground < 80 < 120 < text) if dark else (ground > 200 and text < 80)
    assert found["toggles"] == 3

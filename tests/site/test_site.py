"""The built site: every page is in the navigation, every link leads somewhere, and no other host is asked."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.site.built import Content, is_foreign, pages, place_of, read

pytestmark = [pytest.mark.site, pytest.mark.process]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def contents(site: Path) -> dict[Path, Content]:
    found = {page: read(page) for page in pages(site)}
    assert len(found) > 100
    return found


def test_every_page_is_in_the_navigation(site: Path, contents: dict[Path, Content]) -> None:
    home = site / "index.html"
    reached = {place_of(link, home, site)[0] for link in contents[home].links if not is_foreign(link)}
    docs = ROOT / "docs"
    sources = [*docs.glob("*.md"), *docs.glob("results/*/README.md")]
    assert len(sources) > 40
    for source in sources:
        place = source.relative_to(docs).with_suffix("")
        folder = place.parent if place.name in ("README", "index") else place
        assert site / folder / "index.html" in reached, source


def test_every_link_and_heading_is_there(site: Path, contents: dict[Path, Content]) -> None:
    wrong = set()
    for page, content in contents.items():
        for link in {*content.links, *content.fetched}:
            if is_foreign(link):
                continue
            file, heading = place_of(link, page, site)
            if not file.is_file() or (heading and file in contents and heading not in contents[file].ids):
                wrong.add((str(page.relative_to(site)), link))
    assert not wrong


def test_no_other_host_is_asked_for_anything(site: Path, contents: dict[Path, Content]) -> None:
    for page, content in contents.items():
        assert not [link for link in content.fetched if urlsplit(link).netloc], page
        assert content.policies == ["default-src 'self' 'unsafe-inline' data: blob:"], page
    for file in site.rglob("*.css"):
        assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//|@import", file.read_text(encoding="utf-8")), file


def test_no_markdown_is_left(contents: dict[Path, Content]) -> None:
    """A list without an empty line above it, a table or a link within HTML that is not read."""
    for page, content in contents.items():
        if page.name == "404.html":
            continue
        assert content.headings == 1, page
        for left in ("](", "**", "```", "| ---", "<!--", "\n- ", ":::"):
            assert left not in content.text, (page, left, content.text[content.text.find(left) - 80 :][:160])


def test_files_without_a_link_are_left_out(site: Path) -> None:
    """Of thousands of rows and records only what a page links to."""
    there = {str(file.relative_to(site)) for file in site.rglob("*") if file.is_file()}
    assert "results/cost/rows.csv" in there
    assert not [file for file in there if re.search(r"__pycache__|\.py$|tfevents|^generate|^site/", file)]
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 40e6

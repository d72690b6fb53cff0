"""The built site: its pages, and what each of them links to and fetches."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Tags that fetch something, with the attribute that says what. `link` is one of them only for some values of `rel`.
FETCHES = {**dict.fromkeys(("script", "img", "iframe", "source", "video", "audio"), "src"), "link": "href"}
# Elements that have no end.
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


@dataclass
class Content:
    """What a page has.

    Args:
        ids: The names that links may lead to.
        links: Where its links lead.
        fetched: What a browser fetches for it.
        text: Its text outside of code.
        headings: The number of its first-level headings.
        policies: What its Content-Security-Policy says.
    """

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    text: str = ""
    headings: int = 0
    policies: list[str] = field(default_factory=list)


class Reader(HTMLParser):
    """Reads the content of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.content = Content()
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self._within.append(tag)
        if "id" in given:
            self.content.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.content.links.append(given["href"])
        if tag in FETCHES and FETCHES[tag] in given and given.get("rel") not in ("prev", "next", "canonical"):
            self.content.fetched.append(given[FETCHES[tag]])
        self.content.headings += tag == "h1"
        if given.get("http-equiv") == "Content-Security-Policy":
            self.content.policies.append(given["content"])

    def handle_endtag(self, tag: str) -> None:
        if tag in self._within:
            while self._within.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"code", "pre", "script", "style"} & set(self._within) and "article" in self._within:
            self.content.text += data


def read(page: Path) -> Content:
    """Returns the content of a page."""
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader.content


def pages(site: Path) -> list[Path]:
    """Returns all pages of a site."""
    return sorted(site.rglob("*.html"))


def is_foreign(link: str) -> bool:
    """Returns whether a link leads to another host, or to none."""
    parts = urlsplit(link)
    return bool(parts.netloc) or parts.scheme not in ("", "http", "https")


def place_of(link: str, page: Path, site: Path) -> tuple[Path, str]:
    """Returns the file that a link of a page leads to, and the heading in it."""
    parts = urlsplit(link)
    path = unquote(parts.path)
    file = site / path.lstrip("/") if path.startswith("/") else Path(os.path.normpath(page.parent / path))
    if not path:
        file = page
    return (file / "index.html" if file.is_dir() else file), unquote(parts.fragment)

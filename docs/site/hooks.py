"""Pages of the site for the code and the folders that pages link to, and Markdown in HTML as a forge shows it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Pages that lie beside docs/, with their places in the site.
BESIDE = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
SOURCE_OF = {uri: target for target, uri in BESIDE.items()}
# What browsers download instead of showing it, by the name of the highlighting.
CODE = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".toml": "toml", ".js": "js", ".css": "css"}
SOURCE = "source/"
FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ \t]*$", re.DOTALL | re.MULTILINE)
# A link or picture in this repository: its place, without the heading in it.
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)[^)#\s]+")
MARKER = re.compile(r"^<!-- .*? -->$|(?<=\d)<!-- = .*? -->", re.MULTILINE)
# Without its marker, a number at a line's start with a full stop would begin a list.
NO_LIST = re.compile(r"^(\s*\d+)<!-- = .*? -->\.(?=\s)", re.MULTILINE)
# Diffs beside each other are a table on a forge. Here they are boxes, which go below each other on a phone.
BLOCKS = {
    "<table><tr>\n": '<div class="side-by-side" markdown>\n\n',
    "</tr></table>": "</div>",
    '<td valign="top">': "<div markdown>",
    "</td>": "</div>",
    "<details>": "<details markdown>",
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds a page for each linked file or folder that needs one, and leaves out files of docs/ without a link."""
    for target, uri in BESIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
    waiting = [(file.src_uri, file.content_string) for file in files.documentation_pages()]
    linked = set()
    while waiting:
        for target in targets(*waiting.pop()):
            if (uri := uri_of(target)) in linked:
                continue
            linked.add(uri)
            if uri.startswith(SOURCE) and (text := source_page(target)) is not None:
                files.append(File.generated(config, uri, content=text, inclusion=InclusionLevel.NOT_IN_NAV))
                waiting.append((uri, text))
    for file in list(files):
        if file.src_dir == config.docs_dir and not file.is_documentation_page() and file.src_uri not in linked:
            files.remove(file)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Returns a page's text with links that lead within the site, without markers, and with Markdown in its HTML."""

    def prepared(text: str) -> str:
        text = MARKER.sub("", NO_LIST.sub(r"\1\.", text))
        for before, after in BLOCKS.items():
            text = text.replace(before, after)
        return LINK.sub(lambda link: relative_uri(link[0], page.file.src_uri), text)

    return outside_code(markdown, prepared)


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Returns a Markdown text with everything but its blocks of code changed."""
    parts, end = "", 0
    for fence in FENCE.finditer(text):
        parts, end = parts + change(text[end : fence.start()]) + fence[0], fence.end()
    return parts + change(text[end:])


def targets(uri: str, text: str) -> Iterator[str]:
    """Yields the place in the repository of everything that a page links to and that exists."""
    for link in LINK.findall(FENCE.sub("", text)):
        if (ROOT / (target := target_of(link, uri))).exists():
            yield target


def target_of(link: str, uri: str) -> str:
    """Returns the place in the repository of what the page at a place in the site links to."""
    place = SOURCE_OF.get(uri) or (uri.removeprefix(SOURCE) if uri.startswith(SOURCE) else f"docs/{uri}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def relative_uri(link: str, uri: str) -> str:
    """Returns where a page's link leads within the site; the link itself if nothing is there, for MkDocs to report."""
    target = target_of(link, uri)
    return posixpath.relpath(uri_of(target), posixpath.dirname(uri) or ".") if (ROOT / target).exists() else link


def uri_of(target: str) -> str:
    """Returns the place in the site of a file or folder of the repository."""
    if target in BESIDE:
        return BESIDE[target]
    if (ROOT / target).is_dir():
        readme = f"{target}/README.md"
        return uri_of(readme) if (ROOT / readme).exists() else f"{SOURCE}{target}/index.md"
    inside = target.startswith("docs/") and Path(target).suffix not in CODE
    return target.removeprefix("docs/") if inside else f"{SOURCE}{target}.md"


def source_page(target: str) -> str | None:
    """Returns a page with the source of a file, or with the files of a folder; None for what is no text."""
    place = ROOT / target
    head = f"---\nsearch:\n  exclude: true\nhide: [toc]\n---\n\n# `{target}`\n\n"
    if place.is_dir():
        names = sorted(file.name for file in place.iterdir() if not file.name.startswith((".", "__pycache__")))
        return head + "".join(f"- [`{name}`]({name})\n" for name in names)
    try:
        text = place.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", text))]))
    return f"{head}{fence}{CODE.get(place.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"

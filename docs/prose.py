"""Prints how easily each page reads: its Flesch reading ease, and its sentences of more than 35 words.

`make prose` runs it. It informs and fails nothing. On Flesch's scale, 60 to 70 is plain English and 30 to 50 is hard.
Only paragraphs and list items count. Headings, tables, code blocks, comments and pictures do not. Of a link, the text
counts. Code within a sentence counts as one word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import textstat
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
MOST_WORDS = 35
# Up to a mark that ends it, with closing quotes and brackets, or to the paragraph's end.
SENTENCE = re.compile(r"\S.*?(?:[.!?][\"')\]]*(?=\s)|\Z)", re.DOTALL)
WORD = re.compile(r"\S*\w\S*")
# A dot within a number or a name, which textstat would take for the end of a sentence.
INNER_DOT = re.compile(r"(?<=\w)\.(?=\w)")


@dataclass(frozen=True)
class Sentence:
    """A sentence of a page.

    Args:
        line: The line on which it begins, from 1.
        text: Its words, with single spaces between them.
    """

    line: int
    text: str

    @property
    def words(self) -> int:
        """The number of its words."""
        return len(WORD.findall(self.text))


def pages() -> list[Path]:
    """Returns the pages: README, CONTRIBUTING, and those of docs and its results."""
    globs = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/results/*/README.md")
    return [page for glob in globs for page in sorted(ROOT.glob(glob))]


def sentences(markdown: str) -> list[Sentence]:
    """Returns the sentences of a page's paragraphs and list items, in their order."""
    tokens = MarkdownIt().enable("table").parse(markdown)
    return [
        sentence
        for before, token in pairwise(tokens)
        if before.type == "paragraph_open" and token.map is not None
        for sentence in sentences_of(text_of(token), token.map[0] + 1)
    ]


def text_of(token: Token) -> str:
    """Returns the words of a paragraph, with its line breaks and a word for each piece of code."""
    others = {"code_inline": "code", "softbreak": "\n", "hardbreak": "\n"}
    return "".join(part.content if part.type == "text" else others.get(part.type, "") for part in token.children or ())


def sentences_of(text: str, first_line: int) -> Iterator[Sentence]:
    """Yields the sentences of a paragraph.

    Args:
        text: The paragraph.
        first_line: The line on which it begins.
    """
    for match in SENTENCE.finditer(text):
        yield Sentence(first_line + text.count("\n", 0, match.start()), " ".join(match[0].split()))


def reading_ease(found: list[Sentence]) -> float:
    """Returns the Flesch reading ease of some sentences."""
    ended = (INNER_DOT.sub("", sentence.text).rstrip(".!?:") + "." for sentence in found)
    return float(textstat.flesch_reading_ease(" ".join(ended)))


def main() -> None:
    """Prints a line for each page, and below it one for each long sentence."""
    for page in pages():
        found = [sentence for sentence in sentences(page.read_text(encoding="utf-8")) if sentence.words]
        long = [sentence for sentence in found if sentence.words > MOST_WORDS]
        name, words = page.relative_to(ROOT), sum(sentence.words for sentence in found)
        print(f"{reading_ease(found):5.1f}  {name}: {words:,} words, {len(long)} sentences above {MOST_WORDS} words")
        for sentence in long:
            print(f"       {name}:{sentence.line}: {sentence.words} words: {sentence.text[:80]}…")


if __name__ == "__main__":
    main()

"""What `make prose` counts as a sentence, and what as a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs import prose
from docs.prose import Sentence, pages, reading_ease, sentences

PAGE = """# A heading. It counts for nothing.

One sentence
over two lines. Another
begins on the second.

<!-- generated: a from b -->
| a table. | No sentence. |
| --- | --- |
| a cell. | none. |
<!-- end -->

```python
print("No. Sentence.")
```

    indented = "No. Sentence."

- It takes 2.5<!-- = value from folder --> ms with `a b c` ([source](https://a.b/c)). And *this* is [a link. Two](x.md).
- ![A picture. None.](a.png)
- Is that (a "question?") It is
  none! Yes
"""


def test_sentences_are_those_of_paragraphs_with_their_lines() -> None:
    found = [(sentence.line, sentence.text) for sentence in sentences(PAGE) if sentence.words]
    assert found == [
        (3, "One sentence over two lines."),
        (4, "Another begins on the second."),
        (19, "It takes 2.5 ms with code (source)."),
        (19, "And this is a link."),
        (19, "Two."),
        (21, 'Is that (a "question?")'),
        (21, "It is none!"),
        (22, "Yes"),
    ]


@pytest.mark.parametrize(("text", "words"), [("It takes 2.5 ms.", 4), ("from 1 - 2, or so", 5), ("…", 0)])
def test_words_have_a_letter_or_a_digit(text: str, words: int) -> None:
    assert Sentence(1, text).words == words


def test_dots_within_numbers_and_names_end_no_sentence() -> None:
    """206.835 - 1.015 words a sentence - 84.6 syllables a word: two sentences of five words, each of one syllable."""
    plain = [Sentence(1, "The cat sat down."), Sentence(2, "It ate 2.5 old red fish")]
    assert reading_ease(plain) == pytest.approx(206.835 - 1.015 * 5 - 84.6, abs=0.01)


def test_each_page_and_its_long_sentences_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\nShort.\n{'word ' * 35}end.\n\n{'word ' * 34}end.\n", encoding="utf-8")
    monkeypatch.setattr(prose, "ROOT", tmp_path)
    monkeypatch.setattr(prose, "pages", lambda: [page])
    prose.main()
    first, *others = capsys.readouterr().out.splitlines()
    assert "page.md: 72 words, 1 sentences above 35 words" in first
    assert [line.strip().partition(": word")[0] for line in others] == ["page.md:4: 36 words"]


def test_all_pages_are_read() -> None:
    names = {page.relative_to(prose.ROOT).as_posix() for page in pages()}
    assert {"README.md", "CONTRIBUTING.md", "docs/abstraction-cost.md", "docs/results/gpu/README.md"} <= names
    assert all(page.is_file() for page in pages())

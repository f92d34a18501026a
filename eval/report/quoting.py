"""Escapes names and other external text for Markdown, figures and terminals.

Tasks, optimizers, baselines' labels and suites can have any name, and the origin of a published optimizer is
written by its author. Therefore whole cells and sentences are escaped by the code that writes them out,
instead of each name separately.
"""

from __future__ import annotations

import re

from lopt import plain

MOST_OF_A_CELL = 200
"""Largest number of characters of a table's cell, a heading or a caption."""
MOST_OF_A_TEXT = 4000
"""Largest number of characters of a sentence, or of an entry of the provenance."""

# Underscores within a word and brackets that can't begin a link need no escape, and stay readable.
_MARKUP = r"[\\`*<>|~&$#@]|(?<![^\W_])_|_(?![^\W_])"
_FIRST = re.compile(r"^(\d*)((?<=\d)[.)](?=\s|$)|[-+=]|\[(?=[ xX]\]))")


def in_markdown(text: object, most: int = MOST_OF_A_CELL) -> str:
    """Return text that Markdown shows literally within a line: no links, images, emphasis or new cells.

    Args:
        text: any text.
        most: number of characters to keep; the middle of longer text is left out.
    """
    return _escaped(text, most, rf"{_MARKUP}|\](?=[(\[:])")


def as_caption(text: object, most: int = MOST_OF_A_CELL) -> str:
    """Return text as the description of an image, which is in brackets.

    Args:
        text: any text.
        most: number of characters to keep.
    """
    return _escaped(text, most, rf"{_MARKUP}|[\[\]]")


def as_sentence(text: object, most: int = MOST_OF_A_TEXT) -> str:
    """Return text that Markdown shows literally also at the start of a line: no headings and lists.

    Args:
        text: any text.
        most: number of characters to keep.
    """
    return _FIRST.sub(r"\1\\\2", in_markdown(text, most))


def as_code(text: object, most: int = MOST_OF_A_TEXT) -> str:
    """Return text as a Markdown code span; it may contain backticks.

    Args:
        text: any text.
        most: number of characters to keep.
    """
    line = plain(text, most)
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    padding = " " if not line.strip() or line[0] in "` " or line[-1] in "` " else ""
    return f"{fence}{padding}{line}{padding}{fence}"


class Name(str):
    """A name within a sentence, which is set off from the words around it."""


class Number(str):
    """The number that a sentence is about."""


Sentence = tuple[str, ...]
"""Words, names and numbers; the words are the report's own."""


def as_prose(sentence: Sentence) -> str:
    """Return a sentence in Markdown: names as code, numbers in bold, all literally."""
    return "".join(_piece(piece) for piece in sentence)


def in_words(sentence: Sentence) -> str:
    """Return a sentence as plain text, as for a terminal."""
    return "".join(sentence)


def _piece(piece: str) -> str:
    if isinstance(piece, Name):
        return as_code(piece, MOST_OF_A_CELL)
    if isinstance(piece, Number):
        return f"**{in_markdown(piece)}**"
    spaces = len(piece) - len(piece.lstrip(" ")), len(piece) - len(piece.rstrip(" "))
    return " " * spaces[0] + in_markdown(piece, MOST_OF_A_TEXT) + " " * spaces[1]


def on_terminal(text: object) -> str:
    """Return lines of text with other control characters escaped."""
    return "\n".join(plain(line, MOST_OF_A_TEXT) for line in str(text).split("\n"))


def _escaped(text: object, most: int, markup: str) -> str:
    escaped = re.sub(markup, r"\\\g<0>", plain(str(text).strip(), most))
    # GitHub turns bare addresses into links.
    return re.sub(r"\bwww\.", r"www\\.", escaped.replace("://", r":\//"), flags=re.IGNORECASE)

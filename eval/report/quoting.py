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
MOST_IN_FIGURE = 48
"""Largest number of characters of a name in a figure; longer ones would leave no room for the curves."""

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


def in_figure(text: object, most: int = MOST_IN_FIGURE) -> str:
    """Return text that matplotlib shows literally: no formulas, and not hidden from legends.

    Args:
        text: any text.
        most: number of characters to keep.
    """
    line = plain(text, most).replace("$", r"\$")
    # Legends leave out labels that begin with an underscore.
    return f" {line}" if line.startswith("_") else line


def on_terminal(text: object) -> str:
    """Return lines of text with other control characters escaped."""
    return "\n".join(plain(line, MOST_OF_A_TEXT) for line in str(text).split("\n"))


def _escaped(text: object, most: int, markup: str) -> str:
    escaped = re.sub(markup, r"\\\g<0>", plain(str(text).strip(), most))
    # GitHub turns bare addresses into links.
    return re.sub(r"\bwww\.", r"www\\.", escaped.replace("://", r":\//"), flags=re.IGNORECASE)

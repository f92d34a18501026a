"""Names and other text from outside, made fit for Markdown, a figure or a terminal.

A task, an optimizer, a baseline's label and a suite can be called anything, and what a published optimizer
says of its origin is whatever its author wrote. Cells and sentences are therefore made plain and escaped as a
whole, by what writes them out, and not name by name.
"""

from __future__ import annotations

import re

from lopt import plain

MOST_OF_A_CELL = 200
"""Characters of a table's cell, of a heading or of a caption."""
MOST_OF_A_TEXT = 4000
"""Characters of a sentence, or of one entry of the provenance."""
MOST_IN_FIGURE = 48
"""Characters of a name in a figure, where longer ones would leave no room for the curves."""

# Underscores within a word and brackets that can't begin a link mean nothing, and stay readable.
_MARKUP = r"[\\`*<>|~&$#@]|(?<![^\W_])_|_(?![^\W_])"
_FIRST = re.compile(r"^(\d*)((?<=\d)[.)](?=\s|$)|[-+=]|\[(?=[ xX]\]))")


def in_markdown(text: object, most: int = MOST_OF_A_CELL) -> str:
    """Return text that Markdown shows as it is within a line: no links, pictures, emphasis or new cells.

    Args:
        text: anything.
        most: characters to keep; the middle of what is longer is left out.
    """
    return _escaped(text, most, rf"{_MARKUP}|\](?=[(\[:])")


def as_caption(text: object, most: int = MOST_OF_A_CELL) -> str:
    """Return text as the description of a picture, which stands in brackets of its own.

    Args:
        text: anything.
        most: characters to keep.
    """
    return _escaped(text, most, rf"{_MARKUP}|[\[\]]")


def as_sentence(text: object, most: int = MOST_OF_A_TEXT) -> str:
    """Return text that Markdown shows as it is at the beginning of a line: no headings and lists, too.

    Args:
        text: anything.
        most: characters to keep.
    """
    return _FIRST.sub(r"\1\\\2", in_markdown(text, most))


def as_code(text: object, most: int = MOST_OF_A_TEXT) -> str:
    """Return text as a code span of Markdown, whatever backticks it has.

    Args:
        text: anything.
        most: characters to keep.
    """
    line = plain(text, most)
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    padding = " " if not line.strip() or line[0] in "` " or line[-1] in "` " else ""
    return f"{fence}{padding}{line}{padding}{fence}"


def in_figure(text: object, most: int = MOST_IN_FIGURE) -> str:
    """Return text as matplotlib shows it as it is: no formulas, and a label that its legend keeps.

    Args:
        text: anything.
        most: characters to keep.
    """
    line = plain(text, most).replace("$", r"\$")
    # A legend leaves out what begins with an underscore.
    return f" {line}" if line.startswith("_") else line


def on_terminal(text: object) -> str:
    """Return lines of text without anything else that a terminal would obey."""
    return "\n".join(plain(line, MOST_OF_A_TEXT) for line in str(text).split("\n"))


def _escaped(text: object, most: int, markup: str) -> str:
    escaped = re.sub(markup, r"\\\g<0>", plain(str(text).strip(), most))
    # GitHub makes links of bare addresses.
    return re.sub(r"\bwww\.", r"www\\.", escaped.replace("://", r":\//"), flags=re.IGNORECASE)

"""Curves drawn with characters, in as many columns as there are."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from rich.text import Text

from ..trackers.figures import count, figure

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character by row and column."""
_STYLES = ("cyan", "magenta", "yellow", "green", "blue", "red")
_LABEL = 9
"""Columns of the numbers at the left."""
_LEAST = 24
"""Columns below which there is no room for a curve."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve, with finite values.

    Attributes:
        label: what it is.
        x: ascending positions.
        y: its values.
        dotted: whether to draw only every other dot, as for a reference.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    dotted: bool = False


def draw_curves(
    title: str, axis: str, lines: Sequence[Line], width: int, height: int = 8, ascii_only: bool = False
) -> list[Text]:
    """Draw curves in one frame, on a logarithmic scale if all values are positive and far apart.

    Args:
        title: the heading.
        axis: what the positions count.
        lines: the curves; those without points are left out.
        width: columns of the terminal; too few give the newest values in words.
        height: rows of the frame.
        ascii_only: whether to draw with ASCII characters.

    Returns:
        The rows, none wider than `width`.
    """
    lines = [line for line in lines if line.x]
    if not lines:
        return []
    heading = _heading(title, lines, ascii_only)
    if width < _LEAST:
        return _cut(heading, width)
    values = [y for line in lines for y in line.y]
    log = min(values) > 0 and max(values) > 3 * min(values)
    scale = math.log if log else float
    low, high = scale(min(values)), scale(max(values))
    first, last = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
    columns = width - _LABEL - 2
    canvas = _Canvas(columns, height, ascii_only)
    for at, line in enumerate(lines):
        places = [
            (_share(x, first, last), 1 - _share(scale(y), low, high))
            for x, y in zip(line.x, line.y, strict=True)
        ]
        canvas.draw(places, _STYLES[at % len(_STYLES)], line.dotted)
    return [
        *_cut(heading, width),
        *_framed(canvas, min(values), max(values), ascii_only),
        *_axis(axis, first, last, columns, log),
    ]


def _heading(title: str, lines: Sequence[Line], ascii_only: bool) -> Text:
    text = Text(title, style="bold")
    for at, line in enumerate(lines):
        sign = ("." if line.dotted else "*") if ascii_only else ("┈" if line.dotted else "━")
        text.append(f"  {sign} ", _STYLES[at % len(_STYLES)])
        text.append(f"{line.label} {figure(line.y[-1])}".strip(), "none")
    return text


def _cut(text: Text, width: int) -> list[Text]:
    text = text.copy()
    text.truncate(max(1, width), overflow="crop")
    return [text]


def _framed(canvas: _Canvas, low: float, high: float, ascii_only: bool) -> list[Text]:
    bar, labels = ("|" if ascii_only else "│"), {0: figure(high), canvas.height - 1: figure(low)}
    rows = []
    for at, row in enumerate(canvas.rows()):
        rows.append(Text(f"{labels.get(at, ''):>{_LABEL}} {bar}").append_text(row))
    return rows


def _axis(axis: str, first: float, last: float, columns: int, log: bool) -> list[Text]:
    left, right = _short(first), f"{_short(last)} {axis}" + (" (log scale)" if log else "")
    if len(left) + len(right) + 1 > columns:
        right = _short(last)
    gap = max(1, columns - len(left) - len(right))
    return [Text(" " * (_LABEL + 2) + left + " " * gap + right, style="dim")]


def _short(value: float) -> str:
    return count(value).removesuffix(".0")


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if high <= low else (value - low) / (high - low)


class _Canvas:
    """A grid of dots: two by four in a braille character, or one in an ASCII one."""

    def __init__(self, width: int, height: int, ascii_only: bool) -> None:
        self.width, self.height, self._ascii = width, height, ascii_only
        self._across, self._down = (1, 1) if ascii_only else (2, 4)
        self._cells: dict[tuple[int, int], int] = {}
        self._styles: dict[tuple[int, int], str] = {}

    def draw(self, places: Sequence[tuple[float, float]], style: str, dotted: bool) -> None:
        """Draw a line through places: shares of the width from the left, of the height from the top."""
        right, bottom = self.width * self._across - 1, self.height * self._down - 1
        points = [(round(x * right), round(y * bottom)) for x, y in places]
        self._dot(*points[0], style, dotted)
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for step in range(1, steps + 1):
                share = step / steps
                self._dot(round(x0 + share * (x1 - x0)), round(y0 + share * (y1 - y0)), style, dotted)

    def rows(self) -> list[Text]:
        """Return the rows from the top."""
        rows = []
        for y in range(self.height):
            row = Text()
            for x in range(self.width):
                row.append(self._character(self._cells.get((x, y), 0)), self._styles.get((x, y), ""))
            rows.append(row)
        return rows

    def _dot(self, x: int, y: int, style: str, dotted: bool) -> None:
        if dotted and x % (2 * self._across) >= self._across:
            return
        cell = (x // self._across, y // self._down)
        bit = (2 if dotted else 1) if self._ascii else _DOTS[y % 4][x % 2]
        self._cells[cell] = self._cells.get(cell, 0) | bit
        self._styles[cell] = style

    def _character(self, bits: int) -> str:
        if not bits:
            return " "
        return ("*" if bits & 1 else ".") if self._ascii else chr(0x2800 + bits)

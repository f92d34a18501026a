"""Colours and dashes of optimizers, the same in all figures of a report."""

from __future__ import annotations

from typing import Any

from ..statistics.results import Row, TaskResult

# Okabe and Ito's colour-blind-safe palette; learned optimizers have warm colours.
_LEARNED = ("#D55E00", "#CC79A7", "#E69F00", "#0072B2")
_BASELINES = ("#222222", "#009E73", "#56B4E9", "#999999", "#8C6D31", "#5D3A9B")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (9, 2)))
"""When the colours are used up, lines differ in these."""
CROWD = 4
"""With more optimizers than this, only learned ones get bands, because many bands hide each other."""


def looks_of(task: TaskResult) -> list[tuple[Row, dict[str, Any]]]:
    """Assign each row a colour and dashes; learned optimizers come last, so that they are drawn on top."""
    pairs = []
    for palette, learned in ((_BASELINES, False), (_LEARNED, True)):
        rows = [row for row in task.rows if (row.kind == "learned") is learned]
        for i, row in enumerate(rows):
            dashes = _DASHES[i // len(palette) % len(_DASHES)]
            pairs.append((row, {"color": palette[i % len(palette)], "linestyle": dashes}))
    return pairs

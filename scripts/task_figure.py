"""The figure of `scripts/describe_tasks.py`: a small panel for each task."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = 6
BEST, OTHERS = "#0072B2", "#BBBBBB"


def draw(found: dict[str, Any], steps: int, path: Path) -> None:
    """Draw the training loss of each task under Adam, over inner steps: tuned, and at the other rates.

    Args:
        found: what `describe_tasks.measure` returns, by name.
        steps: inner steps of the curves.
        path: a PNG file.
    """
    import matplotlib.pyplot as plt

    rows = math.ceil(len(found) / COLUMNS)
    figure, axes = plt.subplots(
        rows, COLUMNS, figsize=(2.1 * COLUMNS, 1.5 * rows), layout="constrained", squeeze=False
    )
    for panel in axes.flat[len(found) :]:
        panel.set_axis_off()
    for panel, (name, one) in zip(axes.flat, sorted(found.items()), strict=False):
        _draw_one(panel, name, one, steps)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_one(panel: Any, name: str, one: dict[str, Any], steps: int) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    curves = np.array(one["curves"], float)
    best: int = one["best"]
    first, least = one["first_loss"], np.nanmin(curves)
    at = (np.arange(curves.shape[1]) + 0.5) * steps / curves.shape[1]
    for n in sorted(range(len(curves)), key=lambda n: n == best):
        colour, width = (BEST, 1.6) if n == best else (OTHERS, 0.8)
        panel.plot(at, curves[n], color=colour, linewidth=width)
    if least > 0 and first / least > 5:
        panel.set_yscale("log")
        # Short labels at a few round numbers: the default ones overlap where there is less than a decade.
        panel.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if first / least < 1000 else (1,), numticks=6)
        )
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    else:
        panel.set_ylim(least - 0.05 * (first - least), first + 0.3 * (first - least))
    panel.set_title(name, fontsize=7)
    panel.tick_params(labelsize=6)

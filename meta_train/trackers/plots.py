"""Plots of curves."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from lopt import plain

from .values import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, which needs no display and may be made in any thread."""
    # Without pyplot, which keeps figures and selects a GUI backend.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def in_figure(text: object, most: int = 48) -> str:
    """Return text that matplotlib shows literally: no formulas, and not hidden from legends.

    Args:
        text: any text.
        most: number of characters to keep; longer names would leave no room for the curves.
    """
    line = plain(text, most).replace("$", r"\$")
    # Legends leave out labels that begin with an underscore.
    return f" {line}" if line.startswith("_") else line


def tidy(axes: Any) -> None:
    """Give axes a faint grid, and no frame above and to the right."""
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def to_png(name: str, curves: Curves) -> bytes:
    """Plot curves, on a logarithmic scale if all values are positive; return a PNG file's content.

    Args:
        name: label of the vertical axis.
        curves: the curves; NaN leaves a gap.
    """
    figure = new_figure(5, 3)
    axes = figure.add_subplot()
    for label, line in curves.lines.items():
        axes.plot(curves.steps, line, label=label, linewidth=1.2)
    finite = [value for line in curves.lines.values() for value in line if math.isfinite(value)]
    if finite and min(finite) > 0:
        axes.set_yscale("log")
    axes.set_xlabel("inner steps")
    axes.set_ylabel(name)
    tidy(axes)
    if curves.lines:
        axes.legend(frameon=False, fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()

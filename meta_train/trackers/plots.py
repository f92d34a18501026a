"""Plots of curves."""

from __future__ import annotations

import io
import math

from .values import Curves


def to_png(name: str, curves: Curves) -> bytes:
    """Plot curves, on a logarithmic scale if all values are positive; return a PNG file's content.

    Args:
        name: label of the vertical axis.
        curves: the curves; NaN leaves a gap.
    """
    # Without pyplot, which keeps figures and selects a GUI backend: this runs in a separate thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, line in curves.lines.items():
        axes.plot(curves.steps, line, label=label, linewidth=1.2)
    finite = [value for line in curves.lines.values() for value in line if math.isfinite(value)]
    if finite and min(finite) > 0:
        axes.set_yscale("log")
    axes.set_xlabel("inner steps")
    axes.set_ylabel(name)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if curves.lines:
        axes.legend(frameon=False, fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()

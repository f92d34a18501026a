"""Training curves as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .metrics import smoothed
from .results import Results, Row, TaskResult

# Okabe and Ito's palette, which people with any colour vision tell apart; learned optimizers are warm.
_LEARNED = ("#D55E00", "#CC79A7", "#E69F00", "#0072B2")
_BASELINES = ("#222222", "#009E73", "#56B4E9", "#999999")
_SMOOTHING = 0.8  # The eye wants less than steps to target do.


class PlotsUnavailableError(RuntimeError):
    """Plots can't be drawn on this machine."""


def draw(results: Results, directory: Path) -> dict[tuple[str, int], str]:
    """Draw a figure per task: training loss and held-out loss against inner steps.

    Returns:
        File names in `directory`, by task and horizon.

    Raises:
        PlotsUnavailableError: when matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise PlotsUnavailableError(
            "there are no plots without matplotlib: pip install matplotlib"
        ) from error
    files = {}
    for task in results.tasks:
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        _draw_task(figure, results, task)
        name = f"{task.task}-{task.horizon}.png"
        figure.savefig(directory / name, dpi=150)
        files[task.task, task.horizon] = name
    return files


def _draw_task(figure: Any, results: Results, task: TaskResult) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    runs = f"mean and range of {results.seeds} seeds" if results.seeds > 1 else "1 seed"
    figure.suptitle(f"{task.task} ({runs})", fontsize=13, fontweight="bold")
    ends = []
    for row, colour in _coloured(task):
        learned = row.kind == "learned"
        style = {"color": colour, "linewidth": 2.4 if learned else 1.6, "zorder": 3 if learned else 2}
        _draw_curves(left, task.curve_steps, smoothed(np.array(row.train_curves), _SMOOTHING), style)
        held_out = np.array(row.held_out_curves)
        _draw_curves(right, task.held_out_steps, held_out, style | {"marker": "o", "markersize": 4})
        ends.append((_last_finite(_mean(held_out)), _label(row), colour, learned))
    left.set(title="training batches (smoothed)", ylabel="loss")
    right.set(title=f"held-out batches ({results.held_out} split)")
    for axes in (left, right):
        axes.set(yscale="log", xlabel="inner steps", xlim=(0, 1.02 * task.horizon))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    _limit(left, task)
    _label_ends(figure, right, ends)


def _coloured(task: TaskResult) -> list[tuple[Row, str]]:
    """Give each row a colour; learned optimizers last, so that they lie on top."""
    learned = [row for row in task.rows if row.kind == "learned"]
    others = [row for row in task.rows if row.kind != "learned"]
    pairs = [(row, _BASELINES[i % len(_BASELINES)]) for i, row in enumerate(others)]
    return pairs + [(row, _LEARNED[i % len(_LEARNED)]) for i, row in enumerate(learned)]


def _draw_curves(axes: Any, steps: Any, curves: np.ndarray, style: dict[str, Any]) -> None:
    """Draw the mean over seeds, and a band from the lowest to the highest; infinities leave gaps."""
    curves = np.where(np.isfinite(curves), curves, np.nan)
    axes.plot(steps, _mean(curves), **style)
    if len(curves) > 1:
        axes.fill_between(steps, curves.min(0), curves.max(0), color=style["color"], alpha=0.15, linewidth=0)


def _limit(axes: Any, task: TaskResult) -> None:
    """Keep runs that blow up from flattening all others."""
    # The lowest of the first losses: all start equal, but where the first point averages several steps.
    top = 5 * min(np.mean([curve[0] for curve in row.train_curves]) for row in task.rows)
    low, high = axes.get_ylim()
    if high > top > low:
        axes.set_ylim(top=top)


def _label_ends(figure: Any, axes: Any, ends: list[tuple[float, str, str, bool]]) -> None:
    """Write each curve's name at its right end, names apart from each other."""
    figure.canvas.draw()  # Settles the scale.
    to_axes = lambda y: axes.transAxes.inverted().transform(axes.transData.transform((0, y)))[1]  # noqa: E731
    low, high = axes.get_ylim()
    shown = [(to_axes(np.clip(y if np.isfinite(y) else high, low, high)), *rest) for y, *rest in ends]
    shown.sort()
    heights = _spread([y for y, *_ in shown], gap=0.062)
    for y, (_, label, colour, learned) in zip(heights, shown, strict=True):
        axes.annotate(
            label,
            (1.02, y),
            xycoords="axes fraction",
            va="center",
            color=colour,
            fontsize=10,
            fontweight="bold" if learned else "normal",
            annotation_clip=False,
        )


def _spread(heights: list[float], gap: float) -> list[float]:
    """Push ascending heights apart until neighbours are `gap` from each other."""
    spread = list(heights)
    for _ in range(200):
        for i in range(len(spread) - 1):
            overlap = gap - (spread[i + 1] - spread[i])
            if overlap > 0:
                spread[i] -= overlap / 2
                spread[i + 1] += overlap / 2
    return spread


def _label(row: Row) -> str:
    return f"{row.label} ({row.rate:.3g})" if row.kind == "tuned" else row.label


def _mean(curves: np.ndarray) -> np.ndarray:
    return curves.mean(0)


def _last_finite(curve: np.ndarray) -> float:
    finite = curve[np.isfinite(curve)]
    return float(finite[-1]) if len(finite) else float("inf")

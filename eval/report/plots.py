"""A report's figures as PNG files, including the training curves."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from meta_train import in_figure

from ..statistics.results import Results, Row, TaskResult
from ..training.curve_metrics import smoothed
from .looks import CROWD, looks_of
from .overview import draw_overview, overview_size
from .performance_profiles import draw_profiles
from .speed_up_bars import draw_bars

OVERVIEW = "Speed-up over all tasks, and on each task or part"
PROFILES = "Performance profiles over all tasks"
BARS = "Speed-up on each task"
_SMOOTHING = 0.8  # Plots need less smoothing than steps to target.


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file of a report."""

    file: str
    """Its name in the report's directory."""
    caption: str
    overall: bool = False
    """Whether it shows all tasks together instead of a single task's runs."""
    first: bool = False
    """Whether it stands at the top of the report."""


class PlotsUnavailableError(RuntimeError):
    """Plots can't be drawn on this machine."""


def draw(results: Results, directory: Path) -> tuple[Picture, ...]:
    """Draw a figure per task, with training and held-out loss against inner steps, and three over all tasks.

    Returns:
        The figures in `directory`; those over all tasks are the last, and only drawn for several tasks.

    Raises:
        PlotsUnavailableError: if matplotlib is not installed.
    """
    sheets: list[tuple[Picture, tuple[float, float], Callable[[Any], None]]] = [
        (
            Picture(f"{task.stem}.png", f"{task.name}, {task.horizon} inner steps"),
            (10, 4.2),
            partial(_draw_task, results=results, task=task),
        )
        for task in results.tasks
    ]
    if len(results.tasks) > 1 and len(results.tasks[0].rows) > 1:
        picture = Picture("profiles.png", PROFILES, overall=True)
        sheets.append((picture, (9, 4.4), partial(draw_profiles, results=results)))
        if colours := _subjects(results):
            size = (9, 1.4 + 0.26 * len(results.tasks) * max(1, 0.7 * len(colours)))
            picture = Picture("speed-ups.png", BARS, overall=True)
            sheets.append((picture, size, partial(draw_bars, results=results, colours=colours)))
            picture = Picture("overview.png", OVERVIEW, overall=True, first=True)
            size = overview_size(results, len(colours))
            sheets.append((picture, size, partial(draw_overview, results=results, colours=colours)))
    with warnings.catch_warnings():
        # A name may have letters that matplotlib's font lacks; they are drawn as boxes.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        for picture, size, fill in sheets:
            _save(directory / picture.file, size, fill)
    return tuple(picture for picture, *_ in sheets)


def _save(file: Path, size: tuple[float, float], fill: Callable[[Any], None]) -> None:
    """Create a figure of the given size in inches, fill it, and write it."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise PlotsUnavailableError(
            "there are no plots without matplotlib: pip install matplotlib"
        ) from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    fill(figure)
    figure.savefig(file, dpi=150)


def _subjects(results: Results) -> dict[str, str]:
    """Return the colours of the subjects, except for the reference."""
    colours = {row.optimizer: look["color"] for row, look in looks_of(results.tasks[0])}
    return {name: colours[name] for name in results.subjects if name != results.reference}


def _draw_task(figure: Any, results: Results, task: TaskResult) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    runs = f"mean and range of {results.seeds} seeds" if results.seeds > 1 else "1 seed"
    figure.suptitle(f"{in_figure(task.name)} ({runs})", fontsize=13, fontweight="bold")
    ends = []
    for row, look in looks_of(task):
        learned = row.kind == "learned"
        style = look | {"linewidth": 2.4 if learned else 1.6, "zorder": 3 if learned else 2}
        band = learned or len(task.rows) <= CROWD
        train = smoothed(np.array(row.train_curves), _SMOOTHING)
        _draw_curves(left, task.curve_steps, train, style, band)
        held_out = np.array(row.held_out_curves)
        _draw_curves(right, task.held_out_steps, held_out, style | {"marker": "o", "markersize": 4}, band)
        ends.append((_last_finite(_mean(held_out)), _label(row), style))
    left.set(title="training batches (smoothed)", ylabel="loss")
    right.set(title=f"held-out batches ({in_figure(results.held_out)} split)")
    for axes in (left, right):
        axes.set(yscale="log", xlabel="inner steps", xlim=(0, 1.02 * task.horizon))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    _limit(left, task)
    _label_ends(figure, right, ends)


def _draw_curves(axes: Any, steps: Any, curves: np.ndarray, style: dict[str, Any], band: bool) -> None:
    """Draw the mean over seeds, and optionally a band from lowest to highest; infinities leave gaps."""
    curves = np.where(np.isfinite(curves), curves, np.nan)
    axes.plot(steps, _mean(curves), **style)
    if band and len(curves) > 1:
        axes.fill_between(steps, curves.min(0), curves.max(0), color=style["color"], alpha=0.15, linewidth=0)


def _limit(axes: Any, task: TaskResult) -> None:
    """Limit the y axis, so that diverging runs don't flatten all others."""
    # The lowest of the first losses: all are equal, unless the first point averages several steps.
    top = 5 * min(np.mean([curve[0] for curve in row.train_curves]) for row in task.rows)
    low, high = axes.get_ylim()
    if high > top > low:
        axes.set_ylim(top=top)


def _label_ends(figure: Any, axes: Any, ends: list[tuple[float, str, dict[str, Any]]]) -> None:
    """Label each curve at its right end, after a piece of its line, without overlaps."""
    figure.canvas.draw()  # Settles the scale.
    to_axes = lambda y: axes.transAxes.inverted().transform(axes.transData.transform((0, y)))[1]  # noqa: E731
    low, high = axes.get_ylim()
    shown = [
        (to_axes(np.clip(y if np.isfinite(y) else high, low, high)), label, style) for y, label, style in ends
    ]
    shown.sort(key=lambda end: end[:2])
    heights = _spread([y for y, *_ in shown], gap=min(0.062, 1.1 / len(shown)))
    for y, (_, label, style) in zip(heights, shown, strict=True):
        axes.plot([1.02, 1.07], [y, y], transform=axes.transAxes, clip_on=False, **style)
        axes.annotate(
            label,
            (1.085, y),
            xycoords="axes fraction",
            va="center",
            color=style["color"],
            fontsize=10,
            fontweight="bold" if style["linewidth"] > 2 else "normal",
            annotation_clip=False,
        )


def _spread(heights: list[float], gap: float) -> list[float]:
    """Move ascending heights apart until neighbours are at least `gap` apart."""
    spread = list(heights)
    for _ in range(200):
        for i in range(len(spread) - 1):
            overlap = gap - (spread[i + 1] - spread[i])
            if overlap > 0:
                spread[i] -= overlap / 2
                spread[i + 1] += overlap / 2
    return spread


def _label(row: Row) -> str:
    label = in_figure(row.label)
    return f"{label} ({row.rate:.3g})" if row.kind == "tuned" else label


def _mean(curves: np.ndarray) -> np.ndarray:
    return curves.mean(0)


def _last_finite(curve: np.ndarray) -> float:
    finite = curve[np.isfinite(curve)]
    return float(finite[-1]) if len(finite) else float("inf")

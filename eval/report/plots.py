"""Training curves and performance profiles as PNG files."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..statistics.many_runs import performance_profile, resample
from ..statistics.paired_scores import loss_scores, speed_up_scores
from ..statistics.results import Results, Row, TaskResult
from ..training.curve_metrics import smoothed
from .number_formats import counted
from .quoting import in_figure
from .speed_up_bars import draw_bars
from .tables import reference_label

# Okabe and Ito's palette, which people with any colour vision tell apart; learned optimizers are warm.
_LEARNED = ("#D55E00", "#CC79A7", "#E69F00", "#0072B2")
_BASELINES = ("#222222", "#009E73", "#56B4E9", "#999999", "#8C6D31", "#5D3A9B")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (9, 2)))
"""Once the colours are used up, lines differ in these."""
PROFILES = "Performance profiles over all tasks"
BARS = "Speed-up on each task"
_CROWD = 4
"""With more optimizers than these, only learned ones get bands: many bands hide each other."""
_MOST_PROFILES = 8
"""With more optimizers than these, baselines that are not tuned have no profile."""
_FURTHEST = 16.0
"""Profiles are cut at this many times better or worse than the reference."""
_SMOOTHING = 0.8  # The eye wants less than steps to target do.


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file of a report."""

    file: str
    """Its name in the report's directory."""
    caption: str
    overall: bool = False
    """Whether it shows all tasks together, and not a task's runs."""


class PlotsUnavailableError(RuntimeError):
    """Plots can't be drawn on this machine."""


def draw(results: Results, directory: Path) -> tuple[Picture, ...]:
    """Draw a figure per task, training loss and held-out loss against inner steps, and two over all.

    Returns:
        What was drawn, in `directory`; those over all are the last, and there with several tasks only.

    Raises:
        PlotsUnavailableError: when matplotlib is not installed.
    """
    sheets = [
        (
            Picture(f"{task.stem}.png", f"{task.name}, {task.horizon} inner steps"),
            (10, 4.2),
            partial(_draw_task, results=results, task=task),
        )
        for task in results.tasks
    ]
    if len(results.tasks) > 1 and len(results.tasks[0].rows) > 1:
        picture = Picture("profiles.png", PROFILES, overall=True)
        sheets.append((picture, (9, 4.4), partial(_draw_profiles, results=results)))
        if colours := _subjects(results):
            size = (9, 1.4 + 0.26 * len(results.tasks) * max(1, 0.7 * len(colours)))
            picture = Picture("speed-ups.png", BARS, overall=True)
            sheets.append((picture, size, partial(draw_bars, results=results, colours=colours)))
    with warnings.catch_warnings():
        # A name may be in letters that matplotlib's font lacks: then it has boxes for them.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        for picture, size, fill in sheets:
            _save(directory / picture.file, size, fill)
    return tuple(picture for picture, *_ in sheets)


def _save(file: Path, size: tuple[float, float], fill: Callable[[Any], None]) -> None:
    """Write a figure of so many inches, once it is filled."""
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
    """Return the colours of the optimizers that were asked about, but for the reference."""
    colours = {row.optimizer: look["color"] for row, look in _looks(results.tasks[0])}
    return {name: colours[name] for name in results.subjects if name != results.reference}


def _draw_task(figure: Any, results: Results, task: TaskResult) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    runs = f"mean and range of {results.seeds} seeds" if results.seeds > 1 else "1 seed"
    figure.suptitle(f"{in_figure(task.name)} ({runs})", fontsize=13, fontweight="bold")
    ends = []
    for row, look in _looks(task):
        learned = row.kind == "learned"
        style = look | {"linewidth": 2.4 if learned else 1.6, "zorder": 3 if learned else 2}
        band = learned or len(task.rows) <= _CROWD
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


def _looks(task: TaskResult) -> list[tuple[Row, dict[str, Any]]]:
    """Give each row a colour and dashes; learned optimizers last, so that they lie on top."""
    pairs = []
    for palette, learned in ((_BASELINES, False), (_LEARNED, True)):
        rows = [row for row in task.rows if (row.kind == "learned") is learned]
        for i, row in enumerate(rows):
            dashes = _DASHES[i // len(palette) % len(_DASHES)]
            pairs.append((row, {"color": palette[i % len(palette)], "linestyle": dashes}))
    return pairs


def _draw_profiles(figure: Any, results: Results) -> None:
    """Draw which share of the runs has at least a speed-up, and at least a final-loss ratio."""
    left, right = figure.subplots(1, 2, sharey=True)
    reference = in_figure(reference_label(results))
    runs = f"{counted(len(results.tasks), 'task')} x {counted(results.seeds, 'seed')}"
    figure.get_layout_engine().set(wspace=0.06)
    figure.suptitle(f"Share of runs that do at least this well ({runs})", fontsize=13, fontweight="bold")
    looks = [(row, look) for row, look in _looks(results.tasks[0]) if row.optimizer != results.reference]
    if len(looks) > _MOST_PROFILES:
        asked = results.subjects
        looks = [(row, look) for row, look in looks if row.kind != "untuned" or row.optimizer in asked]
    names = [row.optimizer for row, _ in looks]
    _draw_panel(left, [speed_up_scores(results, name) for name in names], looks)
    _draw_panel(right, [loss_scores(results, name, "final_loss") for name in names], looks)
    left.set(xlabel=f"times as fast as {reference}", ylabel="share of runs", ylim=(0, 1.02))
    right.set(xlabel=f"{reference}'s final loss / own")
    left.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    # Learned optimizers, which were drawn last, are named first.
    handles, labels = left.get_legend_handles_labels()
    columns = min(4 if max(map(len, labels)) <= 16 else 3, len(handles))
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=columns, frameon=False)


def _draw_panel(axes: Any, scores: list[np.ndarray], looks: list[tuple[Row, dict[str, Any]]]) -> None:
    low, high = _range(scores)
    thresholds = np.geomspace(low, high, 500)
    for values, (row, look) in zip(scores, looks, strict=True):
        values = values[~np.isnan(values).any(1)]
        learned = row.kind == "learned"
        style = look | {"linewidth": 2.6 if learned else 1.6, "zorder": 3 if learned else 2}
        if len(values) == 0:
            axes.plot([], [], label=in_figure(row.label), **style)
            continue
        profile = performance_profile(values, thresholds, resample(*values.shape))
        axes.plot(thresholds, profile.share, label=in_figure(row.label), **style)
        if values.shape[1] > 1 and (learned or len(looks) <= _CROWD):
            axes.fill_between(
                thresholds, profile.low, profile.high, color=look["color"], alpha=0.15, linewidth=0
            )
    axes.axvline(1, color="#222222", linewidth=1, linestyle=":", zorder=1)
    axes.set(xscale="log", xlim=(low, high))
    exponents = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1, 1 if high / low < 65 else 2)
    axes.set_xticks([2.0**x for x in exponents], [f"{2**x}" if x >= 0 else f"1/{2**-x}" for x in exponents])
    axes.minorticks_off()
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _range(scores: list[np.ndarray]) -> tuple[float, float]:
    """Return thresholds, symmetric about the reference, that hold the scores, within bounds."""
    values = np.concatenate([np.ravel(one) for one in scores])
    values = values[np.isfinite(values) & (values > 0)]
    furthest = np.exp(np.abs(np.log(values)).max()) if len(values) else 1.0
    reach = float(np.clip(2 ** np.ceil(np.log2(furthest) + 0.01), 2.0, _FURTHEST))
    return 1 / reach, reach


def _draw_curves(axes: Any, steps: Any, curves: np.ndarray, style: dict[str, Any], band: bool) -> None:
    """Draw the mean over seeds, and if asked a band from the lowest to the highest; infinities leave gaps."""
    curves = np.where(np.isfinite(curves), curves, np.nan)
    axes.plot(steps, _mean(curves), **style)
    if band and len(curves) > 1:
        axes.fill_between(steps, curves.min(0), curves.max(0), color=style["color"], alpha=0.15, linewidth=0)


def _limit(axes: Any, task: TaskResult) -> None:
    """Keep runs that blow up from flattening all others."""
    # The lowest of the first losses: all start equal, but where the first point averages several steps.
    top = 5 * min(np.mean([curve[0] for curve in row.train_curves]) for row in task.rows)
    low, high = axes.get_ylim()
    if high > top > low:
        axes.set_ylim(top=top)


def _label_ends(figure: Any, axes: Any, ends: list[tuple[float, str, dict[str, Any]]]) -> None:
    """Write each curve's name at its right end, after a piece of it, names apart from each other."""
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
    label = in_figure(row.label)
    return f"{label} ({row.rate:.3g})" if row.kind == "tuned" else label


def _mean(curves: np.ndarray) -> np.ndarray:
    return curves.mean(0)


def _last_finite(curve: np.ndarray) -> float:
    finite = curve[np.isfinite(curve)]
    return float(finite[-1]) if len(finite) else float("inf")

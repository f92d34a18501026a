"""The figure on top of a report: the speed-up over all tasks, and on each task or part of the suite."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from meta_train import in_figure

from ..statistics.many_runs import bootstrap, interquartile_mean, resample
from ..statistics.paired_scores import speed_up_scores, task_names
from ..statistics.results import Results
from .number_formats import times
from .suite_parts import ALL, groups
from .tables import reference_label

FURTHEST = 8.0
"""Speed-ups are drawn within this factor of the reference."""
_MOST_TASKS = 12
"""With more tasks than this, a row is a part of the suite instead of a task, if the suite has parts."""
_WIDTH = 5.6
"""Inches; narrow, so that it can be read on a phone."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A row of the figure: some of the tasks, by their indices in the results."""

    name: str
    tasks: tuple[int, ...]


def places(results: Results) -> list[Place]:
    """Return the rows from the top: all tasks, and then each task, or each part of a suite of many tasks."""
    count = len(results.tasks)
    every = [Place(f"all {count} tasks", tuple(range(count)))]
    if count > _MOST_TASKS:
        parts = [Place(one.name, one.tasks) for one in groups(results, "") if one.name != ALL]
        if parts:
            return every + parts
    return every + [Place(name, (at,)) for at, name in enumerate(task_names(results))]


def overview_size(results: Results, subjects: int) -> tuple[float, float]:
    """Return the figure's size in inches.

    Args:
        results: the benchmark.
        subjects: number of optimizers.
    """
    return _WIDTH, 1.1 + len(places(results)) * (0.2 + 0.18 * subjects) + 0.3 * (subjects > 1)


def draw_overview(figure: Any, results: Results, colours: Mapping[str, str]) -> None:
    """Draw a point per row and optimizer, with its 95 % interval over seeds, and write the number beside it.

    Args:
        figure: an empty matplotlib figure.
        results: the benchmark.
        colours: colours of the optimizers to draw, by name, in order from the top.
    """
    axes, rows = figure.subplots(), places(results)
    for i, (name, colour) in enumerate(colours.items()):
        scores = speed_up_scores(results, name)
        for at, place in enumerate(rows):
            draws = resample(len(place.tasks), results.seeds)
            estimate = bootstrap(interquartile_mean, scores[list(place.tasks)], draws)
            y = at + (0.7 * (i + 0.5) / len(colours) - 0.35)
            low, high = estimate.interval or (estimate.value, estimate.value)
            axes.plot([_drawn(low), _drawn(high)], [y, y], color=colour, linewidth=2.4, alpha=0.5)
            size = 8 if at == 0 else 5.5
            axes.plot([_drawn(estimate.value)], [y], "o", color=colour, markersize=size)
            axes.annotate(
                _written(estimate.value), (1.02, y), xycoords=("axes fraction", "data"), va="center",
                fontsize=8.5, fontweight="bold" if at == 0 else "normal", annotation_clip=False,
                color=colour if len(colours) > 1 else "#222222",
            )  # fmt: skip
        axes.plot([], [], "o", color=colour, label=in_figure(results.tasks[0].row(name).label))
    _finish(axes, [in_figure(place.name, 30) for place in rows], in_figure(reference_label(results)))
    if len(colours) > 1:
        figure.legend(loc="outside lower center", ncols=min(3, len(colours)), frameon=False)


def _finish(axes: Any, names: list[str], reference: str) -> None:
    reach = int(math.log2(FURTHEST))
    axes.axvline(0, color="#222222", linewidth=1)
    axes.axhline(0.5, color="#888888", linewidth=0.6)
    axes.set(xlim=(-reach - 0.2, reach + 0.2), ylim=(len(names) - 0.4, -0.6))
    axes.set_xlabel(f"times as fast as {reference} (line: 95 % interval)", fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.get_yticklabels()[0].set_fontweight("bold")
    ticks = range(-reach, reach + 1)
    axes.set_xticks(list(ticks), [f"{2**x}" if x >= 0 else f"1/{2**-x}" for x in ticks], fontsize=8.5)
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _drawn(value: float) -> float:
    return float(np.log2(np.clip(value, 1 / FURTHEST, FURTHEST)))


def _written(value: float) -> str:
    return "never" if value == 0 else times(value)

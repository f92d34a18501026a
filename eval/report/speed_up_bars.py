"""Speed-ups on each task as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from meta_train import in_figure

from ..statistics.paired_scores import speed_up_scores, task_names
from ..statistics.results import Results
from ..training.curve_metrics import typical_speed_up
from .tables import reference_label

_FURTHEST = 8.0
"""Bars are cut off at this many times as fast, or as slow, as the reference."""


def draw_bars(figure: Any, results: Results, colours: Mapping[str, str]) -> None:
    """Draw a bar per task and optimizer from 1, the reference, to the median speed-up, and a dot per seed.

    Args:
        figure: an empty matplotlib figure.
        results: the benchmark.
        colours: colours of the optimizers to draw, by name, in order from the top.
    """
    names = [in_figure(name) for name in task_names(results)]
    scores = {name: speed_up_scores(results, name) for name in colours}
    reference = in_figure(reference_label(results))
    height = 0.8 / len(scores)
    axes = figure.subplots()
    for i, (name, runs) in enumerate(scores.items()):
        label = in_figure(results.tasks[0].row(name).label)
        for at, seeds in enumerate(runs):
            middle = typical_speed_up(seeds)
            y = at - 0.4 + (i + 0.5) * height
            end = np.clip(np.nan_to_num(middle, nan=1 / _FURTHEST), 1 / _FURTHEST, _FURTHEST)
            axes.barh(
                y,
                np.log2(end),
                0.9 * height,
                color=colours[name],
                alpha=0.35 if np.isnan(middle) else 0.9,
                label=None if at else label,
            )
            dots = np.log2(np.clip(seeds, 1 / _FURTHEST, _FURTHEST))
            axes.plot(dots, np.full(len(dots), y), ".", color="#222222", markersize=3.5)
            if np.isnan(middle):
                axes.text(np.log2(end), y, " not reached", va="center", fontsize=7)
    axes.axvline(0, color="#222222", linewidth=1)
    axes.set(
        ylim=(len(names) - 0.4, -0.6),
        xlim=(-np.log2(_FURTHEST), np.log2(_FURTHEST)),
        xlabel=f"times as fast to {reference}'s final loss (bar: median, dots: {results.seeds} seeds)",
    )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    ticks = range(-int(np.log2(_FURTHEST)), int(np.log2(_FURTHEST)) + 1)
    axes.set_xticks(list(ticks), [f"{2.0**tick:g}x" for tick in ticks])
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(scores) > 1:
        figure.legend(loc="outside lower center", ncols=min(4, len(scores)), frameon=False)

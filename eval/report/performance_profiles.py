"""Performance profiles: the share of all runs that reaches at least each score."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meta_train import in_figure

from ..statistics.many_runs import performance_profile, resample
from ..statistics.paired_scores import loss_scores, speed_up_scores
from ..statistics.results import Results, Row
from .looks import CROWD, looks_of
from .number_formats import counted
from .tables import reference_label

_MOST_PROFILES = 8
"""With more optimizers than this, untuned baselines have no profile."""
_FURTHEST = 16.0
"""Profiles are cut at this many times better or worse than the reference."""


def draw_profiles(figure: Any, results: Results) -> None:
    """Draw the shares of runs with at least each speed-up, and at least each final-loss ratio."""
    left, right = figure.subplots(1, 2, sharey=True)
    reference = in_figure(reference_label(results))
    runs = f"{counted(len(results.tasks), 'task')} x {counted(results.seeds, 'seed')}"
    figure.get_layout_engine().set(wspace=0.06)
    figure.suptitle(f"Share of runs that do at least this well ({runs})", fontsize=13, fontweight="bold")
    looks = [(row, look) for row, look in looks_of(results.tasks[0]) if row.optimizer != results.reference]
    if len(looks) > _MOST_PROFILES:
        asked = results.subjects
        looks = [(row, look) for row, look in looks if row.kind != "untuned" or row.optimizer in asked]
    names = [row.optimizer for row, _ in looks]
    _draw_panel(left, [speed_up_scores(results, name) for name in names], looks)
    _draw_panel(right, [loss_scores(results, name, "final_loss") for name in names], looks)
    left.set(xlabel=f"times as fast as {reference}", ylabel="share of runs", ylim=(0, 1.02))
    right.set(xlabel=f"{reference}'s final loss / own")
    left.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    # Learned optimizers, which are drawn last, come first in the legend.
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
        if values.shape[1] > 1 and (learned or len(looks) <= CROWD):
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
    """Return a range of thresholds around the reference that covers the scores, within bounds."""
    values = np.concatenate([np.ravel(one) for one in scores])
    values = values[np.isfinite(values) & (values > 0)]
    furthest = np.exp(np.abs(np.log(values)).max()) if len(values) else 1.0
    reach = float(np.clip(2 ** np.ceil(np.log2(furthest) + 0.01), 2.0, _FURTHEST))
    return 1 / reach, reach

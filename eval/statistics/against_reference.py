"""Comparison of a benchmark's optimizers with its reference over all tasks.

Everything is computed deterministically from the results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from .many_runs import (
    RESAMPLES,
    Estimate,
    bootstrap,
    geometric_mean,
    interquartile_mean,
    optimality_gap,
    probability_of_improvement,
    resample,
    trials_matched,
)
from .paired_scores import (
    Loss,
    loss_scores,
    losses_of,
    ratio_of,
    rows_of,
    speed_up_scores,
    task_names,
    time_speed_up_scores,
)
from .results import Kind, Results


@dataclasses.dataclass(frozen=True)
class Summary:
    """A score over all runs. Larger is better, and 1 is as good as the reference."""

    interquartile_mean: Estimate
    geometric_mean: float
    optimality_gap: float
    """Mean shortfall relative to the reference over the runs, 0 for better ones: between 0 and 1."""
    tasks: int
    """Number of tasks that have the score."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Comparison of one optimizer with the reference, over all tasks."""

    optimizer: str
    label: str
    kind: Kind
    speed_up: Summary | None
    time_speed_up: Summary | None
    """Speed-ups in seconds instead of steps (see `time_speed_up_scores`); None if nothing was timed."""
    mean_loss: Summary | None
    """Ratios of losses (see `loss_scores`); None if no task has one."""
    final_loss: Summary | None
    held_out_loss: Summary | None
    probability_of_improvement: Estimate
    """Probability that a run has a lower mean training loss than a run of the reference on the same task."""
    tasks: int
    tasks_won: int
    """Number of tasks on which the mean training loss over seeds is below the reference's, without ties."""
    tasks_won_final: int
    """The same for the final training loss."""
    worst_task: tuple[str, float] | None
    """The task with the lowest ratio of mean training losses, averaged over seeds; None without ratios."""
    runs: int
    """Tasks times seeds."""
    diverged: int
    """Number of runs that diverged."""
    trials_matched: tuple[int, ...]
    """Per task, the number of random trials of the reference whose best it matches; () if it is not tuned."""
    trials: int
    """Total number of trials: the reference's learning rates."""

    @property
    def share_won(self) -> float:
        """The share of tasks won."""
        return self.tasks_won / self.tasks

    @property
    def typical_trials_matched(self) -> int | None:
        """The median over tasks, the lower one if there are two."""
        ordered = sorted(self.trials_matched)
        return ordered[(len(ordered) - 1) // 2] if ordered else None


def compare(
    results: Results,
    resamples: int = RESAMPLES,
    seed: int = 0,
    *,
    optimizers: Sequence[str] | None = None,
    tasks: Sequence[int] | None = None,
) -> tuple[Comparison, ...]:
    """Compare optimizers with the reference.

    Args:
        results: the benchmark.
        resamples: number of resamples for each interval.
        seed: seed of the bootstrap; optimizers share its draws.
        optimizers: names of optimizers; None for the subjects, then all other rows.
        tasks: indices of tasks in the results; None for all.
    """
    names = task_names(results)
    if tasks is not None:
        names = tuple(names[at] for at in tasks)
        results = dataclasses.replace(results, tasks=tuple(results.tasks[at] for at in tasks))
    if optimizers is None:
        others = [row.optimizer for row in results.tasks[0].rows if row.optimizer not in results.subjects]
        optimizers = (*results.subjects, *others)
    draws = resample(len(results.tasks), results.seeds, resamples, seed)
    return tuple(_compare(results, names, name, draws) for name in optimizers)


def tasks_won(results: Results, optimizer: str, other: str, loss: Loss, tasks: Sequence[int]) -> int:
    """Return the number of tasks on which a loss, averaged over seeds, is below another optimizer's.

    Args:
        results: the benchmark.
        optimizer: the optimizer whose wins are counted; ties don't count.
        other: the optimizer to compare with.
        loss: the loss to compare.
        tasks: indices of tasks in the results.
    """
    rows = [[results.tasks[at].row(name) for at in tasks] for name in (optimizer, other)]
    own, to_beat = (losses_of(of, loss).mean(1) for of in rows)
    return int(np.sum(own < to_beat))


def _compare(
    results: Results, names: tuple[str, ...], optimizer: str, draws: Int[ndarray, "count tasks seeds"]
) -> Comparison:
    own, reference = rows_of(results, optimizer)
    losses, to_beat = losses_of(own, "mean_loss"), losses_of(reference, "mean_loss")
    levels, levels_to_beat = losses.mean(1), to_beat.mean(1)
    tuned = all(row.sweep for row in reference)
    sweeps = [[score for _, score in row.sweep] for row in reference] if tuned else []
    return Comparison(
        optimizer=optimizer,
        label=own[0].label,
        kind=own[0].kind,
        speed_up=_summary(speed_up_scores(results, optimizer), draws),
        time_speed_up=_summary(time_speed_up_scores(results, optimizer), draws),
        mean_loss=_summary(loss_scores(results, optimizer, "mean_loss"), draws),
        final_loss=_summary(loss_scores(results, optimizer, "final_loss"), draws),
        held_out_loss=_summary(loss_scores(results, optimizer, "held_out_loss"), draws),
        probability_of_improvement=probability_of_improvement(-losses, -to_beat, draws),
        tasks=len(own),
        tasks_won=int(np.sum(levels < levels_to_beat)),
        tasks_won_final=tasks_won(
            *(results, optimizer, results.reference, "final_loss"), range(len(results.tasks))
        ),
        worst_task=_worst(names, ratio_of(levels, levels_to_beat)),
        runs=losses.size,
        diverged=sum(sum(row.diverged) for row in own),
        trials_matched=tuple(trials_matched(x, sweep) for x, sweep in zip(levels, sweeps, strict=False)),
        trials=max(map(len, sweeps), default=0),
    )


def _summary(
    scores: Float[ndarray, "tasks seeds"], draws: Int[ndarray, "count tasks seeds"]
) -> Summary | None:
    """Summarise the tasks that have the score for every seed."""
    there = ~np.isnan(scores).any(1)
    if not there.any():
        return None
    scores = scores[there]
    return Summary(
        interquartile_mean=bootstrap(interquartile_mean, scores, draws[:, there]),
        geometric_mean=float(geometric_mean(scores)),
        optimality_gap=float(optimality_gap(scores)),
        tasks=len(scores),
    )


def _worst(names: tuple[str, ...], ratios: Float[ndarray, " tasks"]) -> tuple[str, float] | None:
    if np.isnan(ratios).all():
        return None
    at = int(np.nanargmin(ratios))
    return names[at], float(ratios[at])

"""A benchmark's optimizers against its reference, over all tasks: scores, and what they say together.

Everything is derived from the results, and the same results give the same numbers.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from .aggregates import (
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
from .results import Kind, Results, Row

Loss = Literal["mean_loss", "final_loss", "held_out_loss"]


@dataclasses.dataclass(frozen=True)
class Summary:
    """One score over all runs. Larger is better, and 1 is as good as the reference."""

    interquartile_mean: Estimate
    geometric_mean: float
    optimality_gap: float
    """How much worse than the reference in the mean, where it is worse: between 0 and 1."""
    tasks: int
    """How many tasks have the score."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One optimizer against the reference, over all tasks."""

    optimizer: str
    label: str
    kind: Kind
    speed_up: Summary | None
    mean_loss: Summary | None
    """Of ratios (see `loss_scores`); None where no task has one."""
    final_loss: Summary | None
    held_out_loss: Summary | None
    probability_of_improvement: Estimate
    """That a run has a lower mean training loss than a run of the reference on the same task."""
    tasks: int
    tasks_won: int
    """On how many the mean training loss, averaged over the seeds, is below the reference's; no ties."""
    worst_task: tuple[str, float] | None
    """Where the ratio of mean training losses, averaged over the seeds, is lowest; None without a ratio."""
    runs: int
    """Tasks times seeds."""
    diverged: int
    """How many of the runs did."""
    trials_matched: tuple[int, ...]
    """Per task: the best of how many random trials of the reference it equals; () if that is not tuned."""
    trials: int
    """How many there are: the reference's learning rates."""

    @property
    def share_won(self) -> float:
        """The share of tasks won."""
        return self.tasks_won / self.tasks

    @property
    def typical_trials_matched(self) -> int | None:
        """The median over tasks, the lower one of two."""
        ordered = sorted(self.trials_matched)
        return ordered[(len(ordered) - 1) // 2] if ordered else None


def compare(results: Results, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Comparison, ...]:
    """Compare every optimizer with the reference: the subjects first, then the other rows.

    Args:
        results: the benchmark.
        resamples: behind each interval.
        seed: of the bootstrap; optimizers share its draws.
    """
    draws = resample(len(results.tasks), results.seeds, resamples, seed)
    others = [row.optimizer for row in results.tasks[0].rows if row.optimizer not in results.subjects]
    return tuple(_compare(results, name, draws) for name in (*results.subjects, *others))


def speed_up_scores(results: Results, optimizer: str) -> Float[ndarray, "tasks seeds"]:
    """Return each run's speed-up against the reference of the same seed; larger is better, never is 0.

    It is finite, since steps count from 1: a run that is there at the second step is half as many times as
    fast as the reference's steps to its own target. Where the target is met before anything is learned, at
    the first step, it is so for the reference too, and the score is 1. It is 1 also where the reference
    diverged: there is no target, so that nothing is measured.
    """
    own, reference = _pairs(results, optimizer)
    return np.array(
        [
            [
                (1.0 if r is None else 0.0) if x is None else x
                for x, r in zip(a.speed_up, b.speed_up, strict=True)
            ]
            for a, b in zip(own, reference, strict=True)
        ]
    )


def loss_scores(results: Results, optimizer: str, loss: Loss) -> Float[ndarray, "tasks seeds"]:
    """Return the reference's loss over each run's, of the same seed; larger is better, and equal is 1.

    0 for a loss that is not finite, infinity where only the reference's is not. Ratios need losses that are
    not negative: a pair that differs and has a negative one gives NaN.
    """
    own, reference = _pairs(results, optimizer)
    return _ratio(_losses(own, loss), _losses(reference, loss))


def task_names(results: Results) -> tuple[str, ...]:
    """Name the tasks, with their horizons where the same task is there with several."""
    names = [task.task for task in results.tasks]
    return tuple(
        f"{task.task} ({task.horizon} steps)" if names.count(task.task) > 1 else task.task
        for task in results.tasks
    )


def _compare(results: Results, optimizer: str, draws: Int[ndarray, "count tasks seeds"]) -> Comparison:
    own, reference = _pairs(results, optimizer)
    losses, to_beat = _losses(own, "mean_loss"), _losses(reference, "mean_loss")
    levels, levels_to_beat = losses.mean(1), to_beat.mean(1)
    tuned = all(row.sweep for row in reference)
    sweeps = [[score for _, score in row.sweep] for row in reference] if tuned else []
    return Comparison(
        optimizer=optimizer,
        label=own[0].label,
        kind=own[0].kind,
        speed_up=_summary(speed_up_scores(results, optimizer), draws),
        mean_loss=_summary(loss_scores(results, optimizer, "mean_loss"), draws),
        final_loss=_summary(loss_scores(results, optimizer, "final_loss"), draws),
        held_out_loss=_summary(loss_scores(results, optimizer, "held_out_loss"), draws),
        probability_of_improvement=probability_of_improvement(-losses, -to_beat, draws),
        tasks=len(own),
        tasks_won=int(np.sum(levels < levels_to_beat)),
        worst_task=_worst(task_names(results), _ratio(levels, levels_to_beat)),
        runs=losses.size,
        diverged=sum(sum(row.diverged) for row in own),
        trials_matched=tuple(trials_matched(x, sweep) for x, sweep in zip(levels, sweeps, strict=False)),
        trials=max(map(len, sweeps), default=0),
    )


def _summary(
    scores: Float[ndarray, "tasks seeds"], draws: Int[ndarray, "count tasks seeds"]
) -> Summary | None:
    """Summarise the tasks that have the score on every seed."""
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


def _ratio(own: Float[ndarray, "*shape"], reference: Float[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
    """Divide the reference's losses by others (see `loss_scores`)."""
    ratio = np.full(own.shape, np.nan)
    positive = (own >= 0) & (reference >= 0)
    # What is not a number here, 0/0 and infinity/infinity, is equal and set below.
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(reference, own, out=ratio, where=positive)
    ratio[np.isinf(own)] = 0.0
    ratio[np.isinf(reference)] = np.inf
    ratio[own == reference] = 1.0
    return ratio


def _worst(names: tuple[str, ...], ratios: Float[ndarray, " tasks"]) -> tuple[str, float] | None:
    if np.isnan(ratios).all():
        return None
    at = int(np.nanargmin(ratios))
    return names[at], float(ratios[at])


def _pairs(results: Results, optimizer: str) -> tuple[list[Row], list[Row]]:
    """Return an optimizer's rows and the reference's, task by task."""
    own = [task.row(optimizer) for task in results.tasks]
    return own, [task.row(results.reference) for task in results.tasks]


def _losses(rows: list[Row], loss: Loss) -> Float[ndarray, "tasks seeds"]:
    """Return losses with infinity for whatever is not finite."""
    losses = np.array([getattr(row, loss) for row in rows], float)
    return np.where(np.isfinite(losses), losses, np.inf)

"""Scores of each run relative to the reference's run of the same task and seed, and names of tasks."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .results import Results, Row

Loss = Literal["mean_loss", "final_loss", "held_out_loss"]


def speed_up_scores(results: Results, optimizer: str) -> Float[ndarray, "tasks seeds"]:
    """Return each run's speed-up relative to the reference of the same seed; larger is better, never is 0.

    It is finite, because steps count from 1. If the target is met at the first step, before anything is
    learned, this holds for the reference, too, and the score is 1. It is also 1 if the reference diverged,
    because there is no target then.
    """
    own, reference = rows_of(results, optimizer)
    return np.array(
        [
            [
                (1.0 if r is None else 0.0) if x is None else x
                for x, r in zip(a.speed_up, b.speed_up, strict=True)
            ]
            for a, b in zip(own, reference, strict=True)
        ]
    )


def time_speed_up_scores(results: Results, optimizer: str) -> Float[ndarray, "tasks seeds"]:
    """Return the speed-ups of `speed_up_scores` in time: steps times the seconds per step.

    NaN for tasks on which the optimizer or the reference was not timed.
    """
    own, reference = rows_of(results, optimizer)
    seconds = [
        (math.nan if x.seconds_per_step is None else x.seconds_per_step for x in rows)
        for rows in (reference, own)
    ]
    slower = np.array([b / a for a, b in zip(*seconds, strict=True)])
    return speed_up_scores(results, optimizer) / slower[:, None]


def loss_scores(results: Results, optimizer: str, loss: Loss) -> Float[ndarray, "tasks seeds"]:
    """Return the reference's loss over each run's, of the same seed; larger is better, and equal is 1.

    It is 0 for a loss that is not finite, and infinity if only the reference's is not. Ratios need
    nonnegative losses: a pair of different losses, one of them negative, gives NaN.
    """
    own, reference = rows_of(results, optimizer)
    return ratio_of(losses_of(own, loss), losses_of(reference, loss))


def task_names(results: Results) -> tuple[str, ...]:
    """Return the tasks' names, with the horizon if there are several, and the declared one if it differs."""
    return tuple(
        _with_notes(task.task, *notes, f"declared {task.declared:g}x" if task.declared != 1 else "")
        for task, notes in zip(results.tasks, _horizon_notes(results), strict=True)
    )


def run_names(results: Results) -> tuple[str, ...]:
    """Return the names of the baselines' runs: as in `task_names`, but without the declared horizon."""
    pairs = zip(results.tasks, _horizon_notes(results), strict=True)
    return tuple(_with_notes(task.task, *notes) for task, notes in pairs)


def _horizon_notes(results: Results) -> list[tuple[str, ...]]:
    """Return each task's horizon in words, if the task occurs with several."""
    horizons: dict[str, set[int]] = {}
    for task in results.tasks:
        horizons.setdefault(task.task, set()).add(task.horizon)
    return [(f"{task.horizon} steps",) if len(horizons[task.task]) > 1 else () for task in results.tasks]


def _with_notes(name: str, *notes: str) -> str:
    told = ", ".join(note for note in notes if note)
    return f"{name} ({told})" if told else name


def ratio_of(own: Float[ndarray, "*shape"], reference: Float[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
    """Divide the reference's losses by others (see `loss_scores`)."""
    ratio = np.full(own.shape, np.nan)
    positive = (own >= 0) & (reference >= 0)
    # 0/0 and infinity/infinity are ties, which are set below.
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(reference, own, out=ratio, where=positive)
    ratio[np.isinf(own)] = 0.0
    ratio[np.isinf(reference)] = np.inf
    ratio[own == reference] = 1.0
    return ratio


def rows_of(results: Results, optimizer: str) -> tuple[list[Row], list[Row]]:
    """Return an optimizer's rows and the reference's, task by task."""
    own = [task.row(optimizer) for task in results.tasks]
    return own, [task.row(results.reference) for task in results.tasks]


def losses_of(rows: list[Row], loss: Loss) -> Float[ndarray, "tasks seeds"]:
    """Return losses, with infinity for non-finite ones."""
    losses = np.array([getattr(row, loss) for row in rows], float)
    return np.where(np.isfinite(losses), losses, np.inf)

"""Computes the numbers of a benchmark from training curves."""

from __future__ import annotations

import numpy as np

from ..training.baselines import Tuned
from ..training.curve_metrics import final_loss, mean_loss, speed_up, steps_to_target, target_of
from ..training.curves import Curves
from .results import Row

CURVE_POINTS = 250
"""Largest number of points of a training curve in the results."""


def make_row(
    name: str,
    label: str,
    tuned: Tuned | None,
    curves: Curves,
    reference: np.ndarray,
    seconds_per_step: float | None = None,
) -> Row:
    """Compute the results of one optimizer's runs, relative to those of the reference.

    Args:
        name: the optimizer's name.
        label: its name in reports.
        tuned: how its rate was chosen; None for a learned optimizer.
        curves: its runs.
        reference: the reference's training losses, [seeds, horizon].
        seconds_per_step: duration of an inner step, if measured.
    """
    swept = tuned is not None and len(tuned.scores) > 1
    return Row(
        optimizer=name,
        label=label,
        kind="learned" if tuned is None else "tuned" if swept else "untuned",
        rate=None if tuned is None else tuned.rate,
        sweep=tuple(zip(tuned.rates, tuned.scores, strict=True)) if tuned and swept else (),
        mean_loss=_floats(mean_loss(curves.train)),
        final_loss=_floats(final_loss(curves.train)),
        held_out_loss=_floats(curves.held_out[:, -1]),
        steps_to_target=_or_never(steps_to_target(curves.train, target_of(reference))),
        speed_up=_or_never(speed_up(curves.train, reference)),
        diverged=tuple(bool(flag) for flag in curves.diverged),
        train_curves=tuple(rounded(thinned(curve)) for curve in curves.train),
        held_out_curves=tuple(rounded(curve) for curve in curves.held_out),
        held_out_accuracy=() if curves.accuracy is None else _floats(curves.accuracy),
        seconds_per_step=seconds_per_step,
    )


def thinned(curve: np.ndarray) -> np.ndarray:
    """Average neighbouring steps, so that at most `CURVE_POINTS` points are left."""
    if len(curve) <= CURVE_POINTS:
        return curve
    return np.array([block.mean() for block in np.array_split(curve, CURVE_POINTS)])


def rounded(values: np.ndarray) -> tuple[float, ...]:
    """Round to six digits, which is enough for plots and keeps files small."""
    return tuple(float(f"{value:.6g}") for value in values)


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _or_never(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)

"""Metrics of training runs: pure functions of loss curves, checked against closed forms.

Curves are arrays [..., horizon] of the loss before each inner step, with infinity for non-finite losses.
Inner steps count from 1. "Never" is NaN here.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from numpy.typing import ArrayLike

SMOOTHING = 0.95
"""Decay per inner step of the average that determines the steps to target."""
FINAL_SHARE = 0.05
"""Share of the horizon, at its end, over which the final loss is averaged."""


def mean_loss(curve: Float[ndarray, "*runs horizon"]) -> Float[ndarray, "*runs"]:
    """Return the mean loss over the horizon: the area under the curve, per inner step."""
    return _finite(curve).mean(-1)


def final_loss(curve: Float[ndarray, "*runs horizon"]) -> Float[ndarray, "*runs"]:
    """Return the mean loss of the last 5 % of inner steps, rounded down, but at least one."""
    count = max(1, int(FINAL_SHARE * np.shape(curve)[-1]))
    return _finite(curve)[..., -count:].mean(-1)


def smoothed(
    curve: Float[ndarray, "*runs horizon"], decay: float = SMOOTHING
) -> Float[ndarray, "*runs horizon"]:
    """Return the causal exponential average, with bias correction at the start.

    s_t = sum_i decay^(t-i) x_i / sum_i decay^(t-i), over 1 <= i <= t: it uses no future values, and s_1 =
    x_1. Once a curve is infinite, the average stays infinite.
    """
    curve = _finite(curve)
    average, weight = np.zeros(curve.shape[:-1]), 0.0
    out = np.empty_like(curve)
    for step in range(curve.shape[-1]):
        average = decay * average + (1 - decay) * curve[..., step]
        weight = decay * weight + (1 - decay)
        out[..., step] = average / weight
    return out


def target_of(curve: Float[ndarray, "*runs horizon"]) -> Float[ndarray, "*runs"]:
    """Return the target set by a reference: its smoothed loss at the end; NaN if that is not finite."""
    end = smoothed(curve)[..., -1]
    return np.where(np.isfinite(end), end, np.nan)


def steps_to_target(
    curve: Float[ndarray, "*runs horizon"], target: Float[ndarray, "*runs"]
) -> Float[ndarray, "*runs"]:
    """Return the inner step at which the smoothed loss first is at or below the target; NaN for never."""
    reached = smoothed(curve) <= np.asarray(target)[..., None]
    return np.where(reached.any(-1), reached.argmax(-1) + 1.0, np.nan)


def speed_up(
    curve: Float[ndarray, "*runs horizon"], reference: Float[ndarray, "*runs horizon"]
) -> Float[ndarray, "*runs"]:
    """Return how many times sooner a run reaches the reference's target than the reference itself.

    The target is the smoothed loss of the reference's run of the same seed at the end of the horizon. A noisy
    reference may reach it before the end, and the first time counts, so the reference compared with itself
    has exactly 1. NaN if the target is never reached, or the reference diverged.
    """
    target = target_of(reference)
    return steps_to_target(reference, target) / steps_to_target(curve, target)


def typical_speed_up(speed_ups: ArrayLike) -> float:
    """Return the median over seeds, the lower one if there are two; never reaching it counts as slowest.

    NaN if the median seed never reaches the target.
    """
    median = np.quantile(np.nan_to_num(np.asarray(speed_ups, float), nan=0.0), 0.5, method="lower")
    return float(median) if median > 0 else float("nan")


def seeds_won(losses: ArrayLike, reference: ArrayLike) -> int:
    """Return the number of seeds on which the loss is lower than the reference's; ties don't count."""
    return int(np.sum(np.asarray(losses) < np.asarray(reference)))


def diverged(
    curve: Float[ndarray, "*runs horizon"], held_out: Float[ndarray, "*runs points"], ceiling: float
) -> Bool[ndarray, "*runs"]:
    """Return which runs diverged: a loss was not finite, or the final loss is not below the task's ceiling.

    A curve that starts above the ceiling, or spikes and recovers, has not diverged.
    """
    finite = np.isfinite(curve).all(-1) & np.isfinite(held_out).all(-1)
    return ~finite | (final_loss(curve) >= ceiling)


def _finite(curve: Float[ndarray, "*runs horizon"]) -> Float[ndarray, "*runs horizon"]:
    """Convert to float64, with infinity for non-finite values."""
    curve = np.asarray(curve, np.float64)
    return np.where(np.isfinite(curve), curve, np.inf)

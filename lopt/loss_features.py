"""What a rule is told about the loss: where it stands between its own averages.

Without a loss every feature is 0, which is also what is said while too few losses were seen, and averages
stay as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .base import next_count

NUM_LOSS_FEATURES = 9
_LARGEST_LOSS = 1e15
"""Its square is still a float32: an infinite average would never recover."""
_TOO_FEW = 2
"""Losses of which nothing can be said."""


class LossAverages(NamedTuple):
    """Averages of the loss over ten spans, from 10 inner steps to the whole run on a logarithmic scale."""

    seen: Int[Array, ""]
    """Losses so far."""
    decays: Float[Array, "10"]
    """exp(-1/span); constant."""
    means: Float[Array, "10"]
    """Not corrected for their start at 0."""
    lowest: Float[Array, "10"]
    """The lowest that each corrected average has been."""


class LossMoments(NamedTuple):
    """Average of the loss, and of its squared distance from that, at a decay of 0.9."""

    seen: Int[Array, ""]
    """Losses so far."""
    mean: Float[Array, ""]
    variance: Float[Array, ""]


def start_averages(horizon: Int[Array, ""]) -> LossAverages:
    """Return the averages before the first loss.

    Args:
        horizon: declared length of the run, in inner steps.
    """
    # What compilers fold rounds otherwise than what processors compute, and where the loss hardly changes its
    # features are all rounding: the barrier makes them the same whether the horizon is traced or not.
    length = jax.lax.optimization_barrier(horizon).astype(jnp.float32)
    logarithms = jnp.linspace(1.0, jnp.log10(length), 10, dtype=jnp.float32)
    return LossAverages(
        seen=jnp.zeros((), jnp.int32),
        decays=jnp.exp(-1 / jnp.power(jnp.float32(10), logarithms)),
        means=jnp.zeros(10, jnp.float32),
        lowest=jnp.full(10, 999999999999.0, jnp.float32),
    )


def follow_loss(
    averages: LossAverages, loss: Float[Array, ""] | None
) -> tuple[Float[Array, "9"], LossAverages]:
    """Take a loss in, and return nine features in [-1, 1], 0 at first.

    Each average is told between its own lowest value, -1, and the average over the next longer span, 0. A
    loss counts as at most twice the highest average.

    References: Metz et al. 2022 (arXiv 2211.09760).
    """
    if loss is None:
        return jnp.zeros(NUM_LOSS_FEATURES, jnp.float32), averages
    loss = _checked(loss)
    seen = next_count(averages.seen)
    # What is divided by is 0 only where an average is so long that a loss is lost in rounding.
    weight = jnp.maximum(1 - averages.decays ** seen.astype(jnp.float32), 1e-12)
    highest = jnp.where(averages.seen == 0, loss, jnp.max(averages.means / weight))
    loss = jnp.minimum(jnp.abs(highest) * 2, loss)
    means = averages.means * averages.decays + loss * (1 - averages.decays)
    corrected = means / weight
    lowest = jnp.minimum(averages.lowest, corrected)
    span = jnp.maximum(1e-8, corrected[1:] - lowest[:-1])
    features = jnp.clip((corrected[:-1] - lowest[:-1]) / span - 1, -1, 1)
    features = jnp.where(seen <= _TOO_FEW, 0.0, features)
    return features, LossAverages(seen, averages.decays, means, lowest)


def start_moments() -> LossMoments:
    """Return the moments before the first loss."""
    return LossMoments(jnp.zeros((), jnp.int32), *(jnp.zeros((), jnp.float32),) * 2)


def standardise_loss(
    moments: LossMoments, loss: Float[Array, ""] | None
) -> tuple[Float[Array, "2"], LossMoments]:
    """Take a loss in, and return how many standard deviations it is from its average, in [-5, 5].

    Returns:
        That number for the loss, and for a loss of 0: Metz et al. 2020 (arXiv 2009.11243) tell their rule
        the validation loss there, which nobody gives here; and the new moments.
    """
    if loss is None:
        return jnp.zeros(2, jnp.float32), moments
    loss = _checked(loss)
    seen = next_count(moments.seen)
    mean = 0.9 * moments.mean + (1 - 0.9) * loss
    variance = 0.9 * moments.variance + (1 - 0.9) * jnp.square(mean - loss)
    correction = 1 / (1 - jnp.float32(0.9) ** seen.astype(jnp.float32) + 1e-8)
    distance = jnp.stack([loss, jnp.zeros_like(loss)]) - mean * correction
    features = jnp.clip(distance * jax.lax.rsqrt(variance * correction + 1e-8), -5, 5)
    return features, LossMoments(seen, mean, variance)


def _checked(loss: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.clip(jnp.asarray(loss, jnp.float32), -_LARGEST_LOSS, _LARGEST_LOSS)

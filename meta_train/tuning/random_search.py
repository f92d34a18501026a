"""Random draws of hyperparameters: what tuning is compared with on the way."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from tasks import Bounded, Choice, Hyperparameter, Integer, Positive, Share

from .space import FreeNumbers, Space

_WIDE = math.log(30)
"""How far from its start a positive number may be, as a logarithm."""
_SHARES = (0.01, 0.999)


def draw_widely(space: Space, key: Key[Array, ""]) -> FreeNumbers:
    """Draw theta from wide ranges: all that is allowed, or a factor of 30 around the start if unbounded."""
    drawn = {}
    for number, one in enumerate(space.tuned):
        low, high = wide_range(one.hyperparameter)
        shape = space.shape(one)
        drawn[one.name] = jax.random.uniform(jax.random.fold_in(key, number), shape, jnp.float32, low, high)
    return drawn


def wide_range(one: Hyperparameter) -> tuple[float, float]:
    """Return the range of free numbers that random search draws from."""
    constraint, (low, high) = one.constraint, one.free_range()
    if isinstance(constraint, Share):
        return constraint.free(_SHARES[0]), constraint.free(_SHARES[1])
    if isinstance(constraint, Bounded | Integer):
        return constraint.free(constraint.low), constraint.free(constraint.high)
    if isinstance(constraint, Choice):
        return constraint.free(constraint.values[0]), constraint.free(constraint.values[-1])
    wide = _WIDE if isinstance(constraint, Positive) else 1.0
    return low - wide, high + wide

"""Decoupled weight decay, for rules that have it as a field of this name."""

from __future__ import annotations

import math

from jaxtyping import Array, Float

from .base import LearnedOptimizer
from .errors import UsageError

Tensor = Float[Array, "..."]


def decayed(update: Tensor, param: Tensor, rate: float | Float[Array, ""], weight_decay: float) -> Tensor:
    """Add weight decay, in proportion to the rate, to an update."""
    return update - rate * weight_decay * param if weight_decay else update


def with_weight_decay(rule: LearnedOptimizer, weight_decay: float) -> LearnedOptimizer:
    """Return the rule with another weight decay.

    Raises:
        UsageError: if the rule has none of its own, or for one that is negative or not finite.
    """
    if not hasattr(rule, "weight_decay"):
        raise UsageError(
            f"{type(rule).__name__} has no weight decay of its own: leave out weight_decay, and chain a "
            "transformation that adds -RATE * params to the updates"
        )
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise UsageError(f"weight_decay must be a finite number of at least 0, not {weight_decay}")
    return rule.replace(weight_decay=float(weight_decay))

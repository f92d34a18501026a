"""Learned learning rates: a schedule over the run, and a rate for each kind of tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from .base import LearnedOptimizer, checked_horizon
from .features import fraction_done
from .layout import Layout

KINDS = ("matrix", "vector", "embedding", "scalar")
"""Of tensors, in the order of their rates. A tensor of two axes or more that is no matrix is an embedding."""


class LearnedRates(LearnedOptimizer):
    """A rule whose learning rate may follow a learned schedule, and be another for each kind of tensor.

    Both are off by default. They multiply the rate by exp(schedule), linear between knots that divide the run
    evenly, and by exp(kind_rates), by what the layout takes a tensor for.
    """

    schedule: Float[Array, " knots"] | None = struct.field(default=None, kw_only=True)
    kind_rates: Float[Array, "4"] | None = struct.field(default=None, kw_only=True)
    schedule_knots: int = struct.field(pytree_node=False, default=0, kw_only=True)
    rates_by_kind: bool = struct.field(pytree_node=False, default=False, kw_only=True)

    @property
    def needs_horizon(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether there is a schedule."""
        return self.schedule is not None

    def horizon_of_schedule(self, horizon: Int[Array, ""] | int | None) -> Int[Array, ""] | None:
        """Return the length of a run where there is a schedule to stretch over it.

        Raises:
            UsageError: when there is a schedule and no horizon, or one that is no whole number from 1.
        """
        return None if self.schedule is None else checked_horizon(horizon, type(self).__name__)

    def scheduled(
        self, rate: Float[Array, ""], count: Int[Array, ""], horizon: Int[Array, ""] | None
    ) -> Float[Array, ""]:
        """Return the rate of one step.

        Args:
            rate: the rule's own.
            count: updates done so far.
            horizon: what `horizon_of_schedule` returned at the start.
        """
        if self.schedule is None or horizon is None:
            return rate
        last = self.schedule.size - 1
        place = fraction_done(count, horizon) * last - jnp.arange(last + 1, dtype=jnp.float32)
        return rate * jnp.exp(self.schedule @ jnp.maximum(1 - jnp.abs(place), 0))

    def own_rate(self, rate: Float[Array, ""], layout: Layout, shape: Sequence[int]) -> Float[Array, ""]:
        """Return the rate of one tensor, from that of the step."""
        if self.kind_rates is None:
            return rate
        return rate * jnp.exp(self.kind_rates[KINDS.index(kind_of(layout, shape))])


def rate_options(schedule_knots: int, rates_by_kind: bool) -> dict[str, Any]:
    """Return the fields of `LearnedRates` at the start, where they change nothing.

    Args:
        schedule_knots: 0 for no schedule.
        rates_by_kind: whether each kind of tensor has its own rate.
    """
    return {
        "schedule": jnp.zeros(schedule_knots, jnp.float32) if schedule_knots else None,
        "kind_rates": jnp.zeros(len(KINDS), jnp.float32) if rates_by_kind else None,
        "schedule_knots": schedule_knots,
        "rates_by_kind": rates_by_kind,
    }


def kind_of(layout: Layout, shape: Sequence[int]) -> str:
    """Tell which of `KINDS` a tensor is, by its layout and its number of axes."""
    if layout.inputs:
        return "matrix"
    return {0: "scalar", 1: "vector"}.get(len(shape), "embedding")

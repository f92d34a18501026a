"""Truncated evolution strategies."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .evolution import EvolutionStrategies
from .registry import register


@register("truncated-es")
@dataclasses.dataclass(frozen=True)
class TruncatedES(EvolutionStrategies):
    """Redraw noise every window, and weigh a window's losses with the present draw alone.

    Biased: what theta did before this window is not credited. On quadratics its expectation is exactly that
    of backpropagation truncated to one window. Each member of a pair goes on from its own state.

    Variance: (P + 1) |G|^2 for the window's truncated gradient G, plus the spread of the states. Memory: the
        pair's states.

    References: Metz et al. 2019 (arXiv 1810.10180); as a baseline in Vicol et al. 2021 (arXiv 2112.13835).
    """

    remembers: ClassVar[bool] = False

    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Always."""
        return jnp.asarray(True)

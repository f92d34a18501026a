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
    """Redraw noise every window, and weight a window's losses only with the current draw.

    Biased: effects of theta before this window are not credited. On quadratics its expectation is exactly
    that of backpropagation truncated to one window. Each member of a pair continues from its own state.

    Variance: (P + 1) |G|^2 for the window's truncated gradient G, plus the spread of the states. Memory: the
        pair's states.

    References: Metz et al. 2019 (arXiv 1810.10180); as a baseline in Vicol et al. 2021 (arXiv 2112.13835).
    """

    remembers: ClassVar[bool] = False

    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Return True: always."""
        return jnp.asarray(True)

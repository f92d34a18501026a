"""Persistent evolution strategies."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .evolution import EvolutionStrategies
from .registry import register


@register("pes")
@dataclasses.dataclass(frozen=True)
class PES(EvolutionStrategies):
    """Redraw noise every window, and weight a window's losses with all draws of the episode.

    A window's losses depend on every draw since the episode began, so all of these are credited. The result
    is unbiased for the smoothed objective with independent noise per window, at the cost of one window. On
    quadratics it is exactly unbiased, for every window and every sigma.

    Variance: per window P j sum_i |g_ji|^2 + 2 |G_j|^2 on quadratics (P meta-parameters, window j, gradients
        g_ji of window j by draw i); it shrinks slightly, or grows linearly, with the number of windows,
        depending on how aligned these gradients are. Memory: the pair's states and two thetas.

    References: Vicol, Metz, Sohl-Dickstein 2021, Unbiased gradient estimation in unrolled computation graphs
        with persistent evolution strategies (arXiv 2112.13835).
    """

    remembers: ClassVar[bool] = True

    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Return True: always."""
        return jnp.asarray(True)

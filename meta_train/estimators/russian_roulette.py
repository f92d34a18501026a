"""Randomised telescopes with all terms up to a random one."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .registry import register
from .telescope import Telescope


@register("russian-roulette")
@dataclasses.dataclass(frozen=True)
class RussianRoulette(Telescope):
    """Draw a term N of an episode's gradient, and weight each term n up to it by 1 / P(N >= n).

    Unbiased for the gradient of the whole episode. Needs a differentiable graph, and does not smooth.

    Variance: sum_n |D_n|^2 / P(N >= n) + 2 sum_{n < m} D_n . D_m / P(N >= n) - |sum D_n|^2 for terms D_n:
    always less than that of a single sample if the terms are orthogonal, possibly more if they are aligned.
    Memory and cost: those of BPTT (T states, T (F + B)). A compiled loop has a fixed length, so short draws
    save nothing here, whereas the paper computes an episode only up to the drawn term; the distribution of
    the estimates is that of the paper.

    References: Beatson and Adams 2019, Efficient optimization of loops and limits with randomized telescoping
        sums (arXiv 1905.07006); Kahn 1955, Use of different Monte Carlo sampling techniques.
    """

    def weights(self, drawn: Int[Array, ""], q: Float[Array, " terms"]) -> Float[Array, " terms"]:
        """Return 1 / P(N >= n) for the terms up to the drawn one, and 0 for the others."""
        reached = jnp.cumsum(q[::-1])[::-1]
        return jnp.where(jnp.arange(len(q), dtype=drawn.dtype) <= drawn, 1 / jnp.where(q > 0, reached, 1), 0)

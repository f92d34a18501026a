"""Real-time recurrent learning with one random Kronecker product."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from .kronecker import KroneckerSum, Products
from .registry import register


@register("kf-rtrl")
@dataclasses.dataclass(frozen=True)
class KFRTRL(KroneckerSum):
    """Carry an unbiased estimate of the influence of a recurrent network's matrix as one Kronecker product.

    With random signs c, the sum A x u + D x h of the influence so far, moved along, and a step's own becomes

        (c1 A / p1 + c2 D / p2) x (c1 p1 u + c2 p2 h),    p1^2 = |A| / |u|,    p2^2 = |D| / |h|,

    because the cross terms vanish on average; p balances the norms, which minimises their size. Unbiased. For
    `Recurrent` dynamics, such as the copy task's. Needs a differentiable graph, and does not smooth.

    Variance: that of UORO divided by about the size S of a sequence's state, because the derivative by the
    matrix's rows is kept as it is. Memory: S R + I for a matrix of R rows and I columns, per sequence. Cost
    of a step: F + B, S + R forward derivatives, and products of S^2 R numbers.

    Attributes:
        epsilon: added to norms, so that their ratios are finite.

    References: Mujika, Meier, Steger 2018, Approximating real-time recurrent learning with random Kronecker
        factors (arXiv 1805.10842).
    """

    epsilon: float = 1e-7

    @property
    def products(self) -> int:
        """Return 1."""
        return 1

    def shorten(self, grown: Products, signs: Float[Array, "sequences 2"]) -> Products:
        """Return the product of the two sums with random signs."""
        tall_norm = jnp.sqrt(jnp.sum(grown.tall**2, axis=(2, 3)))
        wide_norm = jnp.sqrt(jnp.sum(grown.wide**2, axis=2))
        balance = jnp.sqrt((tall_norm + self.epsilon) / (wide_norm + self.epsilon))
        tall = jnp.einsum("br,brso->bso", signs / balance, grown.tall)
        wide = jnp.einsum("br,bri->bi", signs * balance, grown.wide)
        return Products(tall[:, None], wide[:, None])

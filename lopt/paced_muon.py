"""Muon's step with a pace for each tensor: the architecture of `small`."""

from __future__ import annotations

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from .layout import Layout
from .orthogonal import partly_orthogonal
from .paced import WEIGHT_DECAY, Paced, initial_theta
from .registry import register

BLEND_OFFSET = 1.5
"""Makes the share of Muon's direction start at 0.82."""


@register("paced-muon")
class PacedMuon(Paced):
    """`Paced` around Muon: matrices (by their layout) mostly follow Adam's direction made orthogonal.

    Muon makes the momentum orthogonal; without `normalise_first`, so does this. Where inputs are of very
    different sizes, so are the gradients of their weights, and where a matrix has few outputs, an orthogonal
    momentum still hardly moves those of small inputs; Adam's direction gives all of them one size.
    """

    stacks: ClassVar[bool] = True

    blend: Float[Array, ""]
    step_scale: float = struct.field(pytree_node=False, default=0.2, kw_only=True)
    normalise_first: bool = struct.field(pytree_node=False, default=True, kw_only=True)
    """Whether entries are brought to one size before a matrix is made orthogonal."""

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        step_scale: float = 0.2,
        weight_decay: float = WEIGHT_DECAY,
        normalise_first: bool = True,
    ) -> Self:
        """Draw the first layer of the paces' network; everything else starts at the nominal rule."""
        return cls(
            **initial_theta(key),
            blend=jnp.zeros((), jnp.float32),
            step_scale=step_scale,
            weight_decay=weight_decay,
            normalise_first=normalise_first,
        )

    def direction(self, adam: Array, ahead: Array, layout: Layout) -> Array:
        """Return Muon's for matrices, at the size of Adam's, and Adam's for the rest."""
        if not layout.is_matrix(adam.shape):
            return adam
        share = jax.nn.sigmoid(BLEND_OFFSET + 10 * self.blend)
        return partly_orthogonal(adam, adam if self.normalise_first else ahead, share, layout)

"""Gradients of norm one."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import AnyBatch, Params
from ..errors import UsageError
from .gradients import TINY, loss_with_gradient
from .wrapper import Wrapped, Wrapper


class NormalisedGradient(Wrapper):
    """Divide the gradient of a task by its norm, and keep its loss bitwise unchanged.

    A rule then can't tell from the gradient's size how far the minimum is. With `level="global"` the whole
    gradient has norm 1, with `"tensor"` that of each tensor. A gradient that is zero stays zero.

    Raises:
        UsageError: for an unknown level.
    """

    level: Literal["global", "tensor"] = struct.field(pytree_node=False, default="global")

    def __post_init__(self) -> None:
        if self.level not in ("global", "tensor"):
            raise UsageError(f"there is no level {self.level!r}: give 'global' or 'tensor'")

    def loss(
        self, instance: Wrapped, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the wrapped task's loss; its gradient is normalised."""
        return loss_with_gradient(self.task, self._normalise, instance.task, params, batch, key)

    def _normalise(self, gradient: Params) -> Params:
        if self.level == "global":
            return _divided_by_norm(gradient)
        return jax.tree.map(_divided_by_norm, gradient)


def _divided_by_norm(tree: Params) -> Params:
    """Divide by the largest number first, whose square may be out of range."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))
    # The result does not depend on it, and the square of a small number may be zero.
    scale = jax.lax.stop_gradient(jnp.where(largest > 0, largest, 1))
    tree = jax.tree.map(lambda leaf: leaf / scale, tree)
    square = jnp.sum(jnp.stack([jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)]))
    norm = jnp.sqrt(square + TINY)
    return jax.tree.map(lambda leaf: leaf / norm, tree)

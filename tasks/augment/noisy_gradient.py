"""Noise on the gradient."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import AnyBatch, Params
from ..errors import UsageError
from .gradients import TINY, loss_with_gradient
from .wrapper import Wrapped, Wrapper


class NoisyGradient(Wrapper):
    """Add Gaussian noise to the gradient of a task, and keep its loss bitwise unchanged.

    The noise of a tensor has mean zero and a standard deviation of `scale` times the root mean square of that
    tensor's gradient. It is drawn from the loss's key: the same key gives the same noise. Derivatives with
    respect to variables that the parameters depend on (theta, in backpropagation through training) contain
    the noise, too, as a term of mean zero.

    Raises:
        UsageError: for a negative scale.
    """

    scale: float = struct.field(pytree_node=False, default=0.3)

    SALT: ClassVar[int] = 0x401CE

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise UsageError(f"scale={self.scale} is negative: give 0 (no noise) or more")

    def loss(
        self, instance: Wrapped, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the wrapped task's loss; its gradient is noisy."""
        if self.scale == 0:
            return self.task.loss(instance.task, params, batch, key)
        noise_key = self.own_key(key)

        def noisy(gradient: Array, key: Key[Array, ""]) -> Array:
            size = jnp.sqrt(jnp.mean(jnp.square(gradient)) + TINY)
            return gradient + self.scale * size * jax.random.normal(key, gradient.shape, gradient.dtype)

        def all_noisy(gradient: Params) -> Params:
            leaves, tree = jax.tree.flatten(gradient)
            keys = jax.random.split(noise_key, len(leaves))
            return jax.tree.unflatten(tree, map(noisy, leaves, keys))

        return loss_with_gradient(self.task, all_noisy, instance.task, params, batch, key)

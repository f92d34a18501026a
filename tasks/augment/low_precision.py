"""Numbers of sixteen bits."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import AnyBatch, Params
from ..data.prepared import Split
from ..errors import UsageError
from .gradients import loss_with_gradient
from .wrapper import Wrapped, Wrapper

_BITS = {"bfloat16": (8, 7), "float16": (5, 10)}
"""Bits of the exponent and of the mantissa."""
_PLACES = ("batch", "parameters", "gradient")


class LowPrecision(Wrapper):
    """Round numbers to sixteen bits, as mixed precision does; they stay float32, and so does the arithmetic.

    Which ones, `rounded` says, any of
      * "batch": the floating-point numbers of batches, except for the rows' weights;
      * "parameters": the parameters in the loss, straight through: the derivative is that at the rounded
        parameters, while a rule updates the exact ones;
      * "gradient": the gradient with respect to the parameters.

    Numbers that are too small for the format become 0, and in float16 those above 65,504 infinite.

    Raises:
        UsageError: for another format, or another place.
    """

    format: Literal["bfloat16", "float16"] = struct.field(pytree_node=False, default="bfloat16")
    rounded: tuple[str, ...] = struct.field(pytree_node=False, default=_PLACES)

    def __post_init__(self) -> None:
        if self.format not in _BITS:
            raise UsageError(f"there is no format {self.format!r}: give 'bfloat16' or 'float16'")
        if not self.rounded or set(self.rounded) - set(_PLACES):
            raise UsageError(f"what is rounded is some of {', '.join(_PLACES)}, not {self.rounded}")

    def batch(self, instance: Wrapped, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw a batch of the wrapped task, and round it."""
        batch = self.task.batch(instance.task, key, split)
        if "batch" not in self.rounded:
            return batch
        exact, batch = batch, jax.tree.map(lambda leaf: self._round(leaf), batch)
        return batch._replace(weights=exact.weights) if hasattr(exact, "weights") else batch

    def weights(self, instance: Wrapped, params: Params) -> Params:
        """Return the parameters, rounded."""
        if "parameters" not in self.rounded:
            return params
        return jax.tree.map(lambda leaf: _straight_through(leaf, self._round(leaf)), params)

    def loss(
        self, instance: Wrapped, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the wrapped task's loss at the rounded parameters; its gradient is rounded."""
        params = self.weights(instance, params)
        if "gradient" not in self.rounded:
            return self.task.loss(instance.task, params, batch, key)
        # Rounding a derivative would make second derivatives zero almost everywhere.
        change = lambda tree: jax.tree.map(lambda g: _straight_through(g, self._round(g)), tree)  # noqa: E731
        return loss_with_gradient(self.task, change, instance.task, params, batch, key)

    def _round(self, x: Array) -> Array:
        # A conversion there and back would be removed by the compiler.
        return (
            jax.lax.reduce_precision(x, *_BITS[self.format]) if jnp.issubdtype(x.dtype, jnp.floating) else x
        )


@jax.custom_jvp
def _straight_through(exact: Array, rounded: Array) -> Array:
    """Return the rounded numbers, with the derivative of the exact ones."""
    del exact
    return rounded


@_straight_through.defjvp
def _straight_through_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _straight_through(*primals), tangents[0]

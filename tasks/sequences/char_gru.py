"""A recurrent language model of characters."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..data.prepared import Split
from ..data.text import ALPHABET, Text, load_text
from ..layers import Layers, Shapes, check_ranges, dense, dense_shapes, draw_layers, log_uniform, share_right
from ..perceptron import live_units
from ..registry import register


class GRUInstance(NamedTuple):
    """One member of the family; every entry is a scalar."""

    units: Int[Array, ""]
    initial_scale: Float[Array, ""]


class CharGRU(Task):
    """Predict each next character with a gated recurrent unit over embeddings.

    Each stretch of text starts from a state of zeros. All ranges are inclusive. A member with fewer units
    masks the last ones, whose weights start at zero and get no gradient.

    References:
        Cho et al. 2014, arXiv:1406.1078; the reset gate after the product, as in cuDNN.

    Raises:
        ValueError: for an empty range.
    """

    text: Text
    units: tuple[int, int] = struct.field(pytree_node=False, default=(48, 48))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    features: int = struct.field(pytree_node=False, default=24)
    length: int = struct.field(pytree_node=False, default=24)
    batch_size: int = struct.field(pytree_node=False, default=32)

    def __post_init__(self) -> None:
        check_ranges(units=self.units, initial_scales=self.initial_scales)

    def sample(self, key: Key[Array, ""]) -> GRUInstance:
        """Draw a member: units uniformly, the scale log-uniformly."""
        units_key, scale_key = jax.random.split(key)
        return GRUInstance(
            units=jax.random.randint(units_key, (), self.units[0], self.units[1] + 1),
            initial_scale=log_uniform(scale_key, *self.initial_scales),
        )

    def init(self, instance: GRUInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        units = self.units[1]
        shapes: Shapes = {
            "symbols": {"embedding": (len(ALPHABET), self.features)},
            "inputs": dense_shapes(self.features, 3 * units),
            "recurrence": dense_shapes(units, 3 * units),
            "output": dense_shapes(units, len(ALPHABET)),
        }
        layers = draw_layers(key, shapes)
        live = live_units(self.units, instance.units)
        # The kernels were drawn for the largest fan in, but only some units are in use.
        wider = jnp.sqrt(units / instance.units) * instance.initial_scale
        gates = jnp.tile(live, 3)[None]
        layers["inputs"]["kernel"] *= instance.initial_scale * gates
        layers["recurrence"]["kernel"] *= wider * live[:, None] * gates
        layers["output"]["kernel"] *= wider * live[:, None]
        return layers

    def batch(self, instance: GRUInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw stretches of text."""
        return self.text.batch(key, split, self.batch_size, self.length)

    def loss(
        self, instance: GRUInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross-entropy in nats per character."""
        losses = optax.softmax_cross_entropy_with_integer_labels(
            self._logits(instance, params, batch), batch.targets.T
        )
        return jnp.mean(losses, axis=0) @ batch.weights

    def accuracy(
        self, instance: GRUInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the share of characters that are predicted correctly."""
        weights = jnp.broadcast_to(batch.weights / self.length, (self.length, *batch.weights.shape))
        return share_right(self._logits(instance, params, batch), batch.targets.T, weights)

    @property
    def ceiling(self) -> float:
        """Twice the loss of guessing, in nats."""
        return 2 * math.log(len(ALPHABET))

    def _logits(
        self, instance: GRUInstance, params: Layers, batch: Batch
    ) -> Float[Array, "length batch symbols"]:
        live = live_units(self.units, instance.units)[None]
        embedded = params["symbols"]["embedding"][batch.inputs.T]

        def step(state: Array, x: Array) -> tuple[Array, Array]:
            update_x, reset_x, new_x = jnp.split(x, 3, axis=-1)
            update_h, reset_h, new_h = jnp.split(dense(params["recurrence"], state), 3, axis=-1)
            update = jax.nn.sigmoid(update_x + update_h)
            new = jnp.tanh(new_x + jax.nn.sigmoid(reset_x + reset_h) * new_h)
            state = (update * state + (1 - update) * new) * live
            return state, state

        start = jnp.zeros((batch.inputs.shape[0], self.units[1]))
        states = jax.lax.scan(step, start, dense(params["inputs"], embedded))[1]
        return dense(params["output"], states)


@register("char-gru")
def char_gru() -> Task:
    """A GRU with 48 units on the sources of Python's standard library."""
    return CharGRU(load_text())


@register("char-gru-family")
def char_gru_family() -> Task:
    """GRUs whose number of units and initial scale are drawn."""
    return CharGRU(load_text(), units=(16, 48), initial_scales=(0.8, 1.25))

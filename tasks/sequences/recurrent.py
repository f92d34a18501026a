"""Recurrent language models of characters: what those with different cells share."""

from __future__ import annotations

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Key, PyTree

from ..base import Batch, Task
from ..data.prepared import Split
from ..data.text import ALPHABET, Text
from ..layers import Layers, Shapes, check_ranges, dense, dense_shapes, draw_layers, share_right
from ..perceptron import live_units


class CharRecurrent(Task):
    """Predict each next character with a recurrent cell over embeddings.

    Each stretch of text starts from a state of zeros. All ranges are inclusive. A member with fewer units
    masks the last ones, whose weights start at zero and get no gradient. Subclasses have the cell; what they
    draw has the entries `units` and `initial_scale`.

    Raises:
        UsageError: for an empty range.
    """

    text: Text
    units: tuple[int, int] = struct.field(pytree_node=False, default=(48, 48))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    features: int = struct.field(pytree_node=False, default=24)
    length: int = struct.field(pytree_node=False, default=24)
    batch_size: int = struct.field(pytree_node=False, default=32)

    def __post_init__(self) -> None:
        check_ranges(units=self.units, initial_scales=self.initial_scales)

    @abc.abstractmethod
    def recurrence_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what maps the last output to all gates."""

    @abc.abstractmethod
    def start(self, rows: int) -> PyTree[Array]:
        """Return the state before the first character."""

    @abc.abstractmethod
    def advance(
        self,
        recurrence: dict[str, Array],
        state: PyTree[Array],
        x: Float[Array, "rows gates"],
        live: Float[Array, "1 units"],
    ) -> tuple[PyTree[Array], Float[Array, "rows units"]]:
        """Return the next state, and its output.

        Args:
            recurrence: the parameters of `recurrence_shapes`.
            state: the last state.
            x: what the inputs add to the gates.
            live: 1 for the units that a member has; the output of the others must be 0.
        """

    def init(self, instance: Any, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        units, recurrence = self.units[1], self.recurrence_shapes()
        gates = recurrence["kernel"][1] // units
        shapes: Shapes = {
            "symbols": {"embedding": (len(ALPHABET), self.features)},
            "inputs": dense_shapes(self.features, gates * units),
            "recurrence": recurrence,
            "output": dense_shapes(units, len(ALPHABET)),
        }
        layers = draw_layers(key, shapes)
        live = live_units(self.units, instance.units)
        # The kernels were drawn for the largest fan in, but only some units are in use.
        wider = jnp.sqrt(units / instance.units) * instance.initial_scale
        columns = jnp.tile(live, gates)[None]
        layers["inputs"]["kernel"] *= instance.initial_scale * columns
        layers["recurrence"]["kernel"] *= wider * live[:, None] * columns
        layers["output"]["kernel"] *= wider * live[:, None]
        return layers

    def batch(self, instance: Any, key: Key[Array, ""], split: Split) -> Batch:
        """Draw stretches of text."""
        return self.text.batch(key, split, self.batch_size, self.length)

    def loss(self, instance: Any, params: Layers, batch: Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        """Return the cross-entropy in nats per character."""
        losses = optax.softmax_cross_entropy_with_integer_labels(
            self.logits(instance, params, batch), batch.targets.T
        )
        return jnp.mean(losses, axis=0) @ batch.weights

    def accuracy(self, instance: Any, params: Layers, batch: Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        """Return the share of characters that are predicted correctly."""
        weights = jnp.broadcast_to(batch.weights / self.length, (self.length, *batch.weights.shape))
        return share_right(self.logits(instance, params, batch), batch.targets.T, weights)

    @property
    def ceiling(self) -> float:
        """Twice the loss of guessing, in nats."""
        return 2 * math.log(len(ALPHABET))

    def logits(self, instance: Any, params: Layers, batch: Batch) -> Float[Array, "length batch symbols"]:
        """Return the logits of every next symbol."""
        live = live_units(self.units, instance.units)[None]
        embedded = params["symbols"]["embedding"][batch.inputs.T]

        def step(state: PyTree[Array], x: Array) -> tuple[PyTree[Array], Array]:
            return self.advance(params["recurrence"], state, x, live)

        states = jax.lax.scan(step, self.start(batch.inputs.shape[0]), dense(params["inputs"], embedded))[1]
        return dense(params["output"], states)

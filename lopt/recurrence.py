"""An LSTM over tensors: a row each, one set of weights, and a first state that is learned."""

from __future__ import annotations

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from .lstm_cell import Cell, init_cell, step_cell
from .mlp import Layer, init_layers, linear


class Memory(NamedTuple):
    """State of a `Recurrence`: a row a tensor."""

    hidden: Float[Array, "rows units"]
    """What it puts out."""
    cell: Float[Array, "rows units"]


class Recurrence(struct.PyTreeNode):
    """An LSTM that runs for every row by itself."""

    cell: Cell
    first_hidden: Float[Array, " units"]
    first_cell: Float[Array, " units"]

    @classmethod
    def create(cls, key: Key[Array, ""], inputs: int, units: int) -> Self:
        """Draw the weights; the first state starts at zero."""
        return cls(init_cell(key, inputs, units), *(jnp.zeros(units, jnp.float32),) * 2)

    def start(self, zeros: Float[Array, "rows 1"]) -> Memory:
        """Return the first state of as many rows as there are zeros, placed as those are."""
        return Memory(self.first_hidden[None] + zeros, self.first_cell[None] + zeros)

    def step(self, x: Float[Array, "rows inputs"], memory: Memory) -> Memory:
        """Return the state after reading `x`."""
        return Memory(*step_cell(self.cell, memory.hidden, memory.cell, x))


class MixingRecurrence(struct.PyTreeNode):
    """A recurrence whose rows hear of one another: to what each reads, the maximum over all is added.

    With features x of a tensor, the LSTM reads enter(x) + max over tensors of relu(mix(x)).

    References: Metz et al. 2022 (arXiv 2211.09760).
    """

    mix: Layer
    enter: Layer
    lstm: Recurrence

    @classmethod
    def create(cls, key: Key[Array, ""], inputs: int, units: int) -> Self:
        """Draw the weights."""
        mix_key, enter_key, lstm_key = jax.random.split(key, 3)
        mix, enter = (init_layers(k, (inputs, units))[0] for k in (mix_key, enter_key))
        return cls(mix, enter, Recurrence.create(lstm_key, units, units))

    def step(self, x: Float[Array, "rows inputs"], memory: Memory) -> Memory:
        """Return the state after reading `x`."""
        heard = jnp.max(jax.nn.relu(linear(self.mix, x)), axis=0, keepdims=True, initial=0.0)
        return self.lstm.step(linear(self.enter, x) + heard, memory)

"""An LSTM as dynamics: its parameters are theta, its memory is the state."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics


class Memory(NamedTuple):
    """The state of an LSTM cell."""

    hidden: Float[Array, "batch hidden"]
    cell: Float[Array, "batch hidden"]

    @classmethod
    def blank(cls, batch: int, decoder: Float[Array, "*symbols hidden"]) -> Memory:
        """Return a memory of zeros that fits a decoder."""
        zeros = jnp.zeros((batch, decoder.shape[-1]), decoder.dtype)
        return cls(zeros, zeros)


class Cell(struct.PyTreeNode):
    """The parameters of an LSTM cell, gates in the order input, forget, candidate, output.

    There is a bias for the inputs and one for the hidden state, as in cuDNN; the output depends only on their
    sum, but theta has both.

    References: Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000 (the forget gate).
    """

    input_weights: Float[Array, "gates inputs"]
    hidden_weights: Float[Array, "gates hidden"]
    input_bias: Float[Array, " gates"]
    hidden_bias: Float[Array, " gates"]

    @classmethod
    def create(cls, key: Key[Array, ""], inputs: int, hidden: int) -> Cell:
        """Draw parameters uniformly within 1 / sqrt(hidden)."""
        keys, gates, bound = jax.random.split(key, 4), 4 * hidden, hidden**-0.5
        shapes = ((gates, inputs), (gates, hidden), (gates,), (gates,))
        return cls(*(_uniform(k, shape, bound) for k, shape in zip(keys, shapes, strict=True)))

    def __call__(self, inputs: Float[Array, "batch inputs"], memory: Memory) -> Memory:
        """Advance the memory by one step."""
        drive = inputs @ self.input_weights.T + memory.hidden @ self.hidden_weights.T
        drive = drive + self.input_bias[None] + self.hidden_bias[None]
        return self.driven(memory, drive)

    @property
    def matrix(self) -> Float[Array, "gates columns"]:
        """All parameters as one matrix, which is multiplied with `features`."""
        biases = (self.input_bias[:, None], self.hidden_bias[:, None])
        return jnp.concatenate([self.input_weights, self.hidden_weights, *biases], axis=1)

    @staticmethod
    def features(inputs: Float[Array, "batch inputs"], memory: Memory) -> Float[Array, "batch columns"]:
        """Return the inputs, the hidden state, and a one for each bias."""
        ones = jnp.ones((len(inputs), 2), memory.hidden.dtype)
        return jnp.concatenate([inputs.astype(ones.dtype), memory.hidden, ones], axis=1)

    @staticmethod
    def driven(memory: Memory, drive: Float[Array, "batch gates"]) -> Memory:
        """Advance the memory by one step, given the gates' arguments."""
        admit, keep, candidate, show = jnp.split(drive, 4, axis=-1)
        cell = jax.nn.sigmoid(keep) * memory.cell + jax.nn.sigmoid(admit) * jnp.tanh(candidate)
        return Memory(jax.nn.sigmoid(show) * jnp.tanh(cell), cell)


class LanguageModel(struct.PyTreeNode):
    """Parameters of a recurrent language model whose decoder is not tied to its embedding.

    With 50 symbols, 5 embedding and 5 hidden units these are 790 numbers.
    """

    embedding: Float[Array, "symbols embedding"]
    cell: Cell
    decoder: Float[Array, "symbols hidden"]
    decoder_bias: Float[Array, " symbols"]

    @classmethod
    def create(
        cls, key: Key[Array, ""], symbols: int = 50, embedding: int = 5, hidden: int = 5
    ) -> LanguageModel:
        """Draw parameters: embedding and decoder uniformly within 0.1, the decoder's bias zero."""
        embedding_key, cell_key, decoder_key = jax.random.split(key, 3)
        return cls(
            _uniform(embedding_key, (symbols, embedding), 0.1),
            Cell.create(cell_key, embedding, hidden),
            _uniform(decoder_key, (symbols, hidden), 0.1),
            jnp.zeros((symbols,)),
        )

    def predict(
        self, symbols: Int[Array, " batch"], memory: Memory
    ) -> tuple[Float[Array, "batch symbols"], Memory]:
        """Return the logits of the next symbols, and the memory after the given ones."""
        memory = self.cell(self.embedding[symbols], memory)
        return memory.hidden @ self.decoder.T + self.decoder_bias[None], memory


class Reading(NamedTuple):
    """The state of a language model while it reads its text."""

    memory: Memory
    position: Int[Array, ""]
    """Characters read so far."""


class LanguageModelling(Dynamics):
    """Read a text character by character; a step's loss is the next character's cross entropy, in nats.

    Theta is a `LanguageModel`, and the state is its memory, initially zero. A text shorter than the episode
    is read again from its beginning. Steps are deterministic.

    References: Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835), the experiment on variance.
    """

    text: Int[Array, "batch length"]

    def init(self, theta: LanguageModel, horizon: Int[Array, ""], key: Key[Array, ""]) -> Reading:
        """Return a memory of zeros at the text's beginning."""
        return Reading(Memory.blank(self.text.shape[0], theta.decoder), jnp.zeros((), jnp.int32))

    def step(
        self, theta: LanguageModel, state: Reading, key: Key[Array, ""]
    ) -> tuple[Reading, Float[Array, ""]]:
        """Read a character and predict the next; the loss is averaged over the batch."""
        position = state.position % (self.text.shape[1] - 1)
        now, after = self.text[:, position], self.text[:, position + 1]
        logits, memory = theta.predict(now, state.memory)
        loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), after[:, None], axis=-1)
        return Reading(memory, state.position + 1), jnp.mean(loss)


def _uniform(key: Key[Array, ""], shape: tuple[int, ...], bound: float) -> Array:
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

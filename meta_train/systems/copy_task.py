"""The copy task: memorise a sequence of bits, then reproduce it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Recurrent
from .lstm import Cell, Memory

_INPUTS = 3  # A zero, a one, "write".


class Copyist(struct.PyTreeNode):
    """Parameters of a one-layer LSTM with a logit for "the bit is a one"."""

    cell: Cell
    decoder: Float[Array, " hidden"]
    decoder_bias: Float[Array, ""]

    @classmethod
    def create(cls, key: Key[Array, ""], hidden: int = 100) -> Copyist:
        """Draw parameters uniformly within 1 / sqrt(hidden)."""
        cell_key, decoder_key = jax.random.split(key)
        bound = hidden**-0.5
        decoder = jax.random.uniform(decoder_key, (hidden,), minval=-bound, maxval=bound)
        return cls(Cell.create(cell_key, _INPUTS, hidden), decoder, jnp.zeros(()))


class Copying(NamedTuple):
    """A batch of sequences that are being copied."""

    memory: Memory
    bits: Int[Array, "batch longest"]
    """The bits to copy; change every episode."""
    length: Int[Array, ""]
    """Number of bits that are copied; changes every episode."""
    age: Int[Array, ""]
    """Steps done."""


class CopyTask(Recurrent):
    """Show `length` random bits one by one, then ask for them, one by one and in the same order.

    An episode of horizon T copies T / 2 bits: the input of the first half is the bits, that of the second
    half says "write", and the target at step t is the input of step t - T / 2. So dependencies are T / 2
    steps long, and a method that looks back over fewer steps can't learn them.

    The loss of a step is the cross entropy in bits, averaged over the batch and doubled, so that its mean
    over an episode is in bits per character; it is zero in the first half. Random guessing has a loss of 1.
    Theta is a `Copyist`.

    Attributes:
        batch: sequences copied side by side.
        longest: largest number of bits in an episode; its horizon must be at most twice this.

    References: Mujika, Meier, Steger 2018, Approximating real-time recurrent learning with random
        Kronecker factors (arXiv 1805.10842); Vicol, Kolter, Swersky 2023 (arXiv 2304.11153).
    """

    batch: int = struct.field(pytree_node=False, default=32)
    longest: int = struct.field(pytree_node=False, default=32)

    def init(self, theta: Copyist, horizon: Int[Array, ""], key: Key[Array, ""]) -> Copying:
        """Draw the bits; the memory is blank."""
        bits = jax.random.bernoulli(key, shape=(self.batch, self.longest)).astype(jnp.int8)
        memory = Memory.blank(self.batch, theta.decoder)
        return Copying(memory, bits, jnp.asarray(horizon // 2, jnp.int32), jnp.zeros((), jnp.int32))

    def matrix(self, theta: Copyist) -> Float[Array, "gates columns"]:
        """Return the parameters of the cell."""
        return theta.cell.matrix

    def features(self, state: Copying, key: Key[Array, ""]) -> Float[Array, "batch columns"]:
        """Return the symbols shown, the hidden state, and ones."""
        symbols = self.exercise(state)[0]
        return Cell.features(jax.nn.one_hot(symbols, _INPUTS, dtype=state.memory.hidden.dtype), state.memory)

    def recur(self, state: Copying, product: Float[Array, "batch gates"], key: Key[Array, ""]) -> Copying:
        """Advance the memory."""
        memory = Cell.driven(state.memory, product)
        return Copying(memory, state.bits, state.length, state.age + 1)

    def readout(
        self, theta: Copyist, before: Copying, after: Copying, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross entropy of the bits that are asked for, in bits; 0 while they are shown."""
        _, targets, writing = self.exercise(before)
        logits = after.memory.hidden @ theta.decoder + theta.decoder_bias
        nats = jnp.mean(jax.nn.softplus(jnp.where(targets == 1, -logits, logits)))
        return jnp.where(writing, 2 * nats / jnp.log(2.0), 0.0)

    def exercise(self, state: Copying) -> tuple[Int[Array, " batch"], Int[Array, " batch"], Int[Array, ""]]:
        """Return a step's inputs (0, 1, or 2 for "write"), its targets (0, 1), and whether they count."""
        writing = state.age >= state.length
        shown = state.bits[:, state.age % self.longest]
        wanted = state.bits[:, (state.age - state.length) % self.longest]
        return jnp.where(writing, 2, shown), wanted, writing

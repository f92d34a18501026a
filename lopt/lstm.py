"""CoordinatewiseLSTM: a recurrent network per parameter; its hidden state is the optimizer's memory."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates, next_count
from .per_tensor import map_tensors
from .registry import register


class Cell(NamedTuple):
    """Hidden and cell state of one LSTM layer for every parameter of a tensor."""

    hidden: Float[Array, "parameters units"]
    cell: Float[Array, "parameters units"]


class LSTMState(NamedTuple):
    """State of `CoordinatewiseLSTM`."""

    count: Int[Array, ""]
    """Updates done so far."""
    cells: Any
    """One `Cell` per layer, for each tensor."""


@register("coordinatewise-lstm")
class CoordinatewiseLSTM(LearnedOptimizer):
    """A stack of LSTM layers, shared by all parameters, reads the gradient's logarithm and sign.

    The update is output_scale times a linear read-out of the last layer.

    References: Andrychowicz et al. 2016, Learning to learn by gradient descent by gradient descent
        (arXiv 1606.04474); preprocessing from its appendix A.
    """

    layers: tuple[dict[str, Array], ...]
    output: Float[Array, " units"]
    hidden_size: int = struct.field(pytree_node=False, default=20)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    log_range: float = struct.field(pytree_node=False, default=10.0)
    output_scale: float = struct.field(pytree_node=False, default=0.1)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        hidden_size: int = 20,
        hidden_layers: int = 2,
        log_range: float = 10.0,
        output_scale: float = 0.1,
    ) -> Self:
        """Draw the weights; the read-out starts at zero, so an untrained rule stands still."""
        keys = jax.random.split(key, hidden_layers)
        inputs = [2] + [hidden_size] * (hidden_layers - 1)
        return cls(
            layers=tuple(_init_cell(k, n, hidden_size) for k, n in zip(keys, inputs, strict=True)),
            output=jnp.zeros(hidden_size),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            log_range=log_range,
            output_scale=output_scale,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> LSTMState:
        """Return zero hidden states; the horizon is not used."""

        def cells(param: Array) -> tuple[Cell, ...]:
            shape = (param.size, self.hidden_size)
            return tuple(Cell(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(self.hidden_layers))

        return LSTMState(jnp.zeros((), jnp.int32), jax.tree.map(cells, params))

    def update(
        self, grads: Updates, state: LSTMState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, LSTMState]:
        """Advance every parameter's network by one step; the loss is not used."""

        def rule(grad: Array, cells: tuple[Cell, ...], param: Array) -> tuple[Array, tuple[Cell, ...]]:
            x = log_sign(grad.reshape(-1), self.log_range)
            new_cells = []
            for layer, cell in zip(self.layers, cells, strict=True):
                cell = _step_cell(layer, cell, x)
                x = cell.hidden
                new_cells.append(cell)
            return self.output_scale * (x @ self.output).reshape(param.shape), tuple(new_cells)

        updates, cells = map_tensors(rule, grads, state.cells, params)
        return updates, LSTMState(next_count(state.count), cells)


def log_sign(grad: Float[Array, " n"], log_range: float) -> Float[Array, "n 2"]:
    """Split a gradient into magnitude on a logarithmic scale and sign, both within [-1, 1] for |g| <= 1.

    Below exp(-log_range) the pair is (-1, exp(log_range) g), so that it stays continuous through zero.
    """
    magnitude = jnp.abs(grad)
    floor = jnp.exp(-log_range)
    large = magnitude >= floor
    log = jnp.where(large, jnp.log(jnp.maximum(magnitude, floor)) / log_range, -1.0)
    return jnp.stack([log, jnp.where(large, jnp.sign(grad), grad / floor)], axis=-1)


def _init_cell(key: Key[Array, ""], inputs: int, units: int) -> dict[str, Array]:
    key_input, key_hidden = jax.random.split(key)
    scale = 1 / jnp.sqrt(inputs + units)
    # Gates in the order input, forget, candidate, output; a forget bias of 1 keeps memory at first.
    bias = jnp.zeros((4, units)).at[1].set(1.0)
    return {
        "input": jax.random.truncated_normal(key_input, -2, 2, (inputs, 4 * units)) * scale,
        "hidden": jax.random.truncated_normal(key_hidden, -2, 2, (units, 4 * units)) * scale,
        "bias": bias.reshape(-1),
    }


def _step_cell(layer: dict[str, Array], cell: Cell, x: Float[Array, "n inputs"]) -> Cell:
    gates = x @ layer["input"] + cell.hidden @ layer["hidden"] + layer["bias"]
    put, forget, candidate, show = jnp.split(gates, 4, axis=-1)
    memory = jax.nn.sigmoid(forget) * cell.cell + jax.nn.sigmoid(put) * jnp.tanh(candidate)
    return Cell(jax.nn.sigmoid(show) * jnp.tanh(memory), memory)

"""CoordinatewiseLSTM: a per-parameter recurrent network, whose hidden state is the optimizer's state."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates, next_count
from .layout import Layout
from .per_tensor import Tensors
from .placement import zeros_like
from .registry import register

_FEW = 2
"""Up to this many inputs, multiplying them one by one is cheaper."""


class Cells(NamedTuple):
    """Hidden and cell states of each LSTM layer, of the parameter's shape with a last axis of units."""

    hidden: tuple[Float[Array, "*shape units"], ...]
    cell: tuple[Float[Array, "*shape units"], ...]


class LSTMState(NamedTuple):
    """State of `CoordinatewiseLSTM`."""

    count: Int[Array, ""]
    """Number of updates so far."""
    cells: Cells
    """Trees of hidden and cell states."""


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
        """Draw the weights; the read-out starts at zero, so an untrained rule's updates are zero."""
        keys = jax.random.split(key, hidden_layers)
        inputs = [2] + [hidden_size] * (hidden_layers - 1)
        return cls(
            layers=tuple(_init_cell(k, n, hidden_size) for k, n in zip(keys, inputs, strict=True)),
            output=jnp.zeros(hidden_size, jnp.float32),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            log_range=log_range,
            output_scale=output_scale,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> LSTMState:
        """Return zero hidden states; the horizon is not used."""

        def start(param: Array, _: Layout) -> Cells:
            state = (zeros_like(param, self.hidden_size),) * self.hidden_layers
            return Cells(state, state)

        cells = Tensors(params, self.layout).start(start, self._cells)
        return LSTMState(jnp.zeros((), jnp.int32), cells)

    def update(
        self, grads: Updates, state: LSTMState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, LSTMState]:
        """Advance every parameter's network by one step; the loss is not used."""

        def rule(_: Layout, grad: Array, param: Array, cells: Cells) -> tuple[Array, Cells]:
            x, hidden, cell = log_sign(grad, self.log_range), [], []
            for layer, *before in zip(self.layers, *cells, strict=True):
                x, memory = _step_cell(layer, before[0], before[1], x)
                hidden.append(x)
                cell.append(memory)
            return self.output_scale * (x @ self.output), Cells(tuple(hidden), tuple(cell))

        tensors = Tensors(params, self.layout, grads, stack=False)  # few operations, and much to copy
        updates, cells = tensors.apply(rule, state.cells, self._cells)
        return updates, LSTMState(next_count(state.count), cells)

    @property
    def _cells(self) -> Cells:
        layers: Any = (0,) * self.hidden_layers
        return Cells(layers, layers)


def log_sign(grad: Float[Array, "..."], log_range: float) -> Float[Array, "... 2"]:
    """Split a gradient into magnitude on a logarithmic scale and sign, both within [-1, 1] for |g| <= 1.

    Below exp(-log_range) the pair is (-1, exp(log_range) g), which is continuous through zero.
    """
    magnitude = jnp.abs(grad)
    floor = jnp.exp(-log_range)
    large = magnitude >= floor
    log = jnp.where(large, jnp.log(jnp.maximum(magnitude, floor)) / log_range, -1.0)
    return jnp.stack([log, jnp.where(large, jnp.sign(grad), grad / floor)], axis=-1)


def _init_cell(key: Key[Array, ""], inputs: int, units: int) -> dict[str, Array]:
    key_input, key_hidden = jax.random.split(key)
    scale = np.float32((inputs + units) ** -0.5)
    # Gates in the order input, forget, candidate, output; a forget bias of 1 preserves the memory initially.
    bias = jnp.zeros((4, units), jnp.float32).at[1].set(1.0)
    return {
        "input": jax.random.truncated_normal(key_input, -2, 2, (inputs, 4 * units), jnp.float32) * scale,
        "hidden": jax.random.truncated_normal(key_hidden, -2, 2, (units, 4 * units), jnp.float32) * scale,
        "bias": bias.reshape(-1),
    }


def _step_cell(
    layer: dict[str, Array],
    hidden: Float[Array, "... units"],
    cell: Float[Array, "... units"],
    x: Float[Array, "... inputs"],
) -> tuple[Array, Array]:
    gates = _gates(layer, hidden, x)
    put, forget, candidate, show = jnp.split(gates, 4, axis=-1)
    memory = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(put) * jnp.tanh(candidate)
    return jax.nn.sigmoid(show) * jnp.tanh(memory), memory


def _gates(layer: dict[str, Array], hidden: Array, x: Array) -> Float[Array, "... gates"]:
    """Return pre-activations by one matrix product: the results of two would both be stored."""
    alike = lambda row: row.reshape(*[1] * (hidden.ndim - 1), -1)  # noqa: E731
    if x.shape[-1] > _FEW:
        both = jnp.concatenate([x, hidden], axis=-1)
        return both @ jnp.concatenate([layer["input"], layer["hidden"]]) + alike(layer["bias"])
    from_x = [x[..., i : i + 1] * alike(layer["input"][i]) for i in range(x.shape[-1])]
    return hidden @ layer["hidden"] + sum(from_x, alike(layer["bias"]))

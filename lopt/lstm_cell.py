"""One step of an LSTM: over parameters in `lstm.py`, over tensors in `recurrence.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

Cell = dict[str, Array]
"""`input` [inputs, 4 units], `hidden` [units, 4 units], `bias` [4 units].

Gates are in the order input, forget, candidate, output.
"""

_FEW = 2
"""Inputs that are cheaper multiplied one by one."""


def init_cell(key: Key[Array, ""], inputs: int, units: int) -> Cell:
    """Draw a cell: truncated normal weights of scale 1/sqrt(inputs + units), a forget bias of 1."""
    key_input, key_hidden = jax.random.split(key)
    scale = np.float32((inputs + units) ** -0.5)
    # A forget bias of 1 keeps memory at first.
    bias = jnp.zeros((4, units), jnp.float32).at[1].set(1.0)
    return {
        "input": jax.random.truncated_normal(key_input, -2, 2, (inputs, 4 * units), jnp.float32) * scale,
        "hidden": jax.random.truncated_normal(key_hidden, -2, 2, (units, 4 * units), jnp.float32) * scale,
        "bias": bias.reshape(-1),
    }


def step_cell(
    cell: Cell,
    hidden: Float[Array, "... units"],
    memory: Float[Array, "... units"],
    x: Float[Array, "... inputs"],
) -> tuple[Array, Array]:
    """Return the hidden state and the memory after reading `x`."""
    put, forget, candidate, show = jnp.split(_gates(cell, hidden, x), 4, axis=-1)
    memory = jax.nn.sigmoid(forget) * memory + jax.nn.sigmoid(put) * jnp.tanh(candidate)
    return jax.nn.sigmoid(show) * jnp.tanh(memory), memory


def _gates(cell: Cell, hidden: Array, x: Array) -> Float[Array, "... gates"]:
    """Return pre-activations by one product of matrices: those of two would both be stored."""
    alike = lambda row: row.reshape(*[1] * (hidden.ndim - 1), -1)  # noqa: E731
    if x.shape[-1] > _FEW:
        both = jnp.concatenate([x, hidden], axis=-1)
        return both @ jnp.concatenate([cell["input"], cell["hidden"]]) + alike(cell["bias"])
    from_x = [x[..., i : i + 1] * alike(cell["input"][i]) for i in range(x.shape[-1])]
    return hidden @ cell["hidden"] + sum(from_x, alike(cell["bias"]))

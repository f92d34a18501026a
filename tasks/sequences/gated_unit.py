"""A gated recurrent unit, as plain functions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..layers import Layers, Shapes, dense, dense_shapes


def recurrent_shapes(features: int, units: int) -> Shapes:
    """Return the shapes of the layers `inputs` and `recurrence`."""
    return {"inputs": dense_shapes(features, 3 * units), "recurrence": dense_shapes(units, 3 * units)}


def advance(
    recurrence: dict[str, Array],
    state: Float[Array, "rows units"],
    x: Float[Array, "rows gates"],
    live: Float[Array, "1 units"],
) -> Float[Array, "rows units"]:
    """Return the next state.

    Args:
        recurrence: the layer that maps the state to the gates: update, reset and new state.
        state: the state.
        x: what the inputs add to the gates.
        live: 1 for units that are in use, and 0 for those that stay at zero.

    References:
        Cho et al. 2014, arXiv:1406.1078; the reset gate after the product, as in cuDNN.
    """
    update_x, reset_x, new_x = jnp.split(x, 3, axis=-1)
    update_h, reset_h, new_h = jnp.split(dense(recurrence, state), 3, axis=-1)
    update = jax.nn.sigmoid(update_x + update_h)
    new = jnp.tanh(new_x + jax.nn.sigmoid(reset_x + reset_h) * new_h)
    return (update * state + (1 - update) * new) * live


def states(
    layers: Layers, x: Float[Array, "length rows features"], live: Float[Array, " units"]
) -> Float[Array, "length rows units"]:
    """Return the state after each step, from a state of zeros.

    Args:
        layers: `inputs` and `recurrence`.
        x: the inputs of every step.
        live: 1 for units that are in use, and 0 for those that stay at zero.
    """

    def step(state: Array, mapped: Array) -> tuple[Array, Array]:
        state = advance(layers["recurrence"], state, mapped, live[None])
        return state, state

    return jax.lax.scan(step, jnp.zeros((x.shape[1], live.shape[0])), dense(layers["inputs"], x))[1]

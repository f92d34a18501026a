"""A gated recurrent unit that takes a further bias from outside: a cell of a hierarchy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

GRU = dict[str, Array]

_GATE_BIAS = 2.2
"""Of both gates at first: nine tenths of the state is kept."""


def init_gru(key: Key[Array, ""], inputs: int, units: int) -> GRU:
    """Draw a cell: truncated normal kernels of scale 1/sqrt(fan in); its state starts anywhere in [-1, 1]."""
    gates_key, candidate_key, start_key = jax.random.split(key, 3)
    scale = np.float32((inputs + units) ** -0.5)
    draw = lambda k, outputs: jax.random.truncated_normal(k, -2, 2, (inputs + units, outputs), jnp.float32)  # noqa: E731
    bias = jnp.concatenate([jnp.full(2 * units, _GATE_BIAS, jnp.float32), jnp.zeros(units, jnp.float32)])
    return {
        "gates": draw(gates_key, 2 * units) * scale,
        "candidate": draw(candidate_key, units) * scale,
        "bias": bias,
        "start": jax.random.uniform(start_key, (units,), jnp.float32, -1.0, 1.0),
    }


def step_gru(
    cell: GRU,
    x: Float[Array, "... inputs"],
    hidden: Float[Array, "... units"],
    bias: Float[Array, "#... three_units"] | None = None,
) -> Float[Array, "... units"]:
    """Return the state after reading `x`.

    Args:
        cell: what `init_gru` drew.
        x: the input.
        hidden: the state before.
        bias: added to what the two gates and the candidate add up, of the rank of `x`.

    References: Cho et al. 2014 (arXiv 1406.1078).
    """
    added = cell["bias"].reshape(*[1] * (x.ndim - 1), -1)
    if bias is not None:
        added = added + bias
    for_gates, for_candidate = jnp.split(added, [cell["gates"].shape[-1]], axis=-1)
    gates = jnp.concatenate([x, hidden], axis=-1) @ cell["gates"] + for_gates
    reset, keep = jnp.split(jax.nn.sigmoid(gates), 2, axis=-1)
    candidate = jnp.concatenate([x, reset * hidden], axis=-1) @ cell["candidate"] + for_candidate
    return keep * hidden + (1 - keep) * jnp.tanh(candidate)

"""Layers as haiku names and lays them out, which learned_optimization and Celo use."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from ..lstm_cell import Cell
from ..mlp import Layer
from ..recurrence import MixingRecurrence, Recurrence
from .foreign import Foreign


def take_linear(theta: Foreign, path: str, inputs: int, outputs: int) -> Layer:
    """Take a linear layer, `w` and `b` below a path."""
    return {
        "kernel": theta.take(f"{path}/w", inputs, outputs),
        "bias": theta.take(f"{path}/b", outputs),
    }


def take_recurrence(theta: Foreign, inputs: int, units: int) -> Recurrence:
    """Take an LSTM, `rnn_params/rnn/linear`, and its first state, `lstm_init_state`."""
    layer = take_linear(theta, "rnn_params/rnn/linear", inputs + units, 4 * units)
    kernel, bias = _reordered(layer["kernel"]), _reordered(layer["bias"])
    cell: Cell = {
        "input": kernel[:inputs],
        "hidden": kernel[inputs:],
        # haiku adds 1 to what goes into the forget gate.
        "bias": bias.at[units : 2 * units].add(1),
    }
    hidden, memory = (theta.take(f"lstm_init_state/{name}", 1, units)[0] for name in ("hidden", "cell"))
    return Recurrence(cell, hidden, memory)


def take_mixing_recurrence(theta: Foreign, inputs: int, units: int) -> MixingRecurrence:
    """Take an LSTM with the layers before it.

    `rnn_params/linear` has no effect: the original computes with it, and overwrites what it gets.
    """
    take_linear(theta, "rnn_params/linear", inputs, units)
    mix, enter = (take_linear(theta, f"rnn_params/linear_{n}", inputs, units) for n in (1, 2))
    return MixingRecurrence(mix, enter, take_recurrence(theta, units, units))


def lstm_units(theta: Foreign) -> int:
    """Tell how many units the LSTM has."""
    return theta.shape("lstm_init_state/hidden", 2)[1]


def _reordered(gates: Array) -> Array:
    """Bring gates from haiku's order, input, candidate, forget, output, into ours."""
    put, candidate, forget, show = jnp.split(gates, 4, axis=-1)
    return jnp.concatenate([put, forget, candidate, show], axis=-1)

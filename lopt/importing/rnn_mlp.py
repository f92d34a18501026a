"""TensorLSTM from learned_optimization's `RNNMLPLOpt`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from ..mlp import Layer
from ..tensor_lstm import NUM_CONSTANTS, NUM_PLANES, TensorLSTM
from ..tensor_summaries import NUM_TENSOR_SUMMARIES
from .foreign import Foreign
from .haiku import lstm_units, take_linear, take_recurrence

_MLP = "ffmod_params/mlp/~/linear_"
_VARIANCES = 3
"""Features that the original's LSTM reads last, after those of the loss; ours reads the loss last."""


def static_options(theta: Mapping[str, Any]) -> dict[str, int]:
    """Tell the static options of `TensorLSTM` that the shapes of a theta show.

    Raises:
        UsageError: when it is no theta of it.
    """
    foreign = Foreign(theta, "TensorLSTM")
    layers = next(n for n in itertools.count() if not foreign.has(f"{_MLP}{n}/b"))
    return {
        "hidden_size": foreign.shape(f"{_MLP}0/b", 1)[0],
        "hidden_layers": layers - 1,
        "lstm_size": lstm_units(foreign),
        "to_parameters_size": foreign.shape("rnn_to_ff_params/rnn_to_ff/b", 1)[0],
        "from_parameters_size": foreign.shape("initial_from_mlp", 1)[0],
        "from_tensors_size": foreign.shape("initial_from_lstm", 1)[0],
    }


def from_theta(theta: Mapping[str, Any]) -> TensorLSTM:
    """Return the optimizer with another library's theta.

    Args:
        theta: nested dicts: `ffmod_params`, `initial_from_lstm`, `initial_from_mlp`, `lstm_init_state`,
            `rnn_params`, `rnn_to_ff_params`, `rnn_to_in_params`.

    Raises:
        UsageError: when it is no theta of it.
    """
    static, foreign = static_options(theta), Foreign(theta, "TensorLSTM")
    units = static["lstm_size"]
    told, heard = static["from_tensors_size"], static["from_parameters_size"]
    lstm = take_recurrence(foreign, told + heard + NUM_TENSOR_SUMMARIES + 2, units)
    rows = lstm.cell["input"]
    losses, variances = rows[-_VARIANCES - 2 : -_VARIANCES], rows[-_VARIANCES:]
    rows = jnp.concatenate([rows[: -_VARIANCES - 2], variances, losses])
    rule = TensorLSTM(
        layers=_take_layers(foreign, static),
        lstm=lstm.replace(cell=lstm.cell | {"input": rows}),
        to_parameters=take_linear(foreign, "rnn_to_ff_params/rnn_to_ff", units, static["to_parameters_size"]),
        to_tensors=take_linear(foreign, "rnn_to_in_params/rnn_to_in", units, told),
        first_from_parameters=foreign.take("initial_from_mlp", heard),
        first_from_tensors=foreign.take("initial_from_lstm", told),
        **static,
    )
    foreign.finish()
    return rule


def _take_layers(theta: Foreign, static: dict[str, int]) -> tuple[Layer, ...]:
    sizes = [
        NUM_PLANES + NUM_CONSTANTS + static["to_parameters_size"],
        *[static["hidden_size"]] * static["hidden_layers"],
        2 + static["from_parameters_size"],
    ]
    return tuple(
        take_linear(theta, f"{_MLP}{n}", inputs, outputs)
        for n, (inputs, outputs) in enumerate(itertools.pairwise(sizes))
    )

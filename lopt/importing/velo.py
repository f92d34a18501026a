"""VeLO from learned_optimization's `HyperV2`, and Celo's copy of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..velo import NUM_INPUTS, VeLO
from .foreign import Foreign
from .haiku import lstm_units, take_linear, take_mixing_recurrence
from .relative_mlp import bank_sizes, take_bank


def static_options(theta: Mapping[str, Any]) -> dict[str, int]:
    """Tell the static options of `VeLO` that the shapes of a theta show.

    Raises:
        UsageError: when it is no theta of VeLO.
    """
    foreign = Foreign(theta, "VeLO")
    return {"lstm_size": lstm_units(foreign), **bank_sizes(foreign)}


def from_theta(theta: Mapping[str, Any], mixture_scale: float = 100.0) -> VeLO:
    """Return the optimizer with another library's theta.

    Args:
        theta: nested dicts, `lstm_init_state`, `rnn_params` and `ff_mod_stack`.
        mixture_scale: what the mixture of the bank is multiplied by, which the arrays do not show: 100 in
            learned_optimization, and `ff_mult` in Celo's copy, whose `velo_s` has 1.

    Raises:
        UsageError: when it is no theta of VeLO. One that is told whether it is validated (31 inputs) is none.
    """
    static, foreign = static_options(theta), Foreign(theta, "VeLO")
    bank_size, units = static["bank_size"], static["lstm_size"]
    rule = VeLO(
        network=take_mixing_recurrence(foreign, NUM_INPUTS, units),
        controls=take_linear(foreign, "rnn_params/rnn_to_controls", units, bank_size),
        rate=take_linear(foreign, "rnn_params/step_size", units, 1),
        bank=take_bank(foreign, bank_size, static["hidden_size"], static["hidden_layers"]),
        mixture_scale=mixture_scale,
        **static,
    )
    foreign.finish()
    return rule

"""Celo and CeloAdam from the code that comes with the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from ..celo import Celo
from ..celo_adam import CeloAdam
from ..errors import UsageError
from ..scheduler import NUM_INPUTS, Scheduler
from .foreign import Foreign
from .haiku import lstm_units, take_linear, take_mixing_recurrence
from .relative_mlp import bank_sizes, take_bank


def static_options(theta: Mapping[str, Any]) -> dict[str, int]:
    """Tell the static options of `Celo` or `CeloAdam` that the shapes of a theta show.

    Raises:
        UsageError: when it is no theta of theirs.
    """
    foreign = Foreign(theta, "Celo")
    sizes = {} if _is_adam(theta) else bank_sizes(foreign)
    if sizes.pop("bank_size", 1) != 1:
        raise UsageError("this is no theta of Celo: it has a bank of networks, as VeLO has, and not one")
    return {"lstm_size": lstm_units(foreign), **sizes}


def from_theta(theta: Mapping[str, Any]) -> Celo | CeloAdam:
    """Return the optimizer with another library's theta.

    Args:
        theta: nested dicts: `lstm_init_state`, `rnn_params`, and, for Celo and not for CeloAdam,
            `ff_mod_stack`. Celo's is of the second phase: one of the first has a scheduler as it was drawn,
            and `.replace(scheduled=False)` does without.

    Raises:
        UsageError: when it is no theta of theirs.
    """
    static = static_options(theta)
    foreign = Foreign(theta, "CeloAdam" if _is_adam(theta) else "Celo")
    scheduler = _take_scheduler(foreign, static["lstm_size"])
    if _is_adam(theta):
        rule: Celo | CeloAdam = CeloAdam(scheduler, **static)
    else:
        take_linear(
            foreign, "rnn_params/rnn_to_controls", static["lstm_size"], 1
        )  # of a bank of one: no effect
        bank = take_bank(foreign, 1, static["hidden_size"], static["hidden_layers"])
        mlp = jax.tree.map(lambda stacked: stacked[0], bank)
        rule = Celo(mlp, scheduler, scheduled=True, **static)
    foreign.finish()
    return rule


def _is_adam(theta: Mapping[str, Any]) -> bool:
    return isinstance(theta, Mapping) and not any(str(name).startswith("ff_mod_stack") for name in theta)


def _take_scheduler(theta: Foreign, units: int) -> Scheduler:
    network = take_mixing_recurrence(theta, NUM_INPUTS, units)
    return Scheduler(network, take_linear(theta, "rnn_params/step_size", units, 1))

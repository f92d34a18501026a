"""A learned optimizer as an ordinary optax gradient transformation."""

from __future__ import annotations

from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from .base import LearnedOptimizer, Params, State, Updates, checked_horizon
from .errors import UsageError
from .layout import LayoutOption
from .publish import load


def as_optax(
    optimizer: LearnedOptimizer | str | PathLike[str],
    horizon: Int[Array, ""] | int | None = None,
    *,
    layout: LayoutOption | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Turn a learned optimizer into an optax transformation.

    It works under plain `tx.update(grads, state, params)`, uses `value=` (the loss) where the rule reads it,
    and ignores other extra arguments; so it chains with optax's own transformations and sits in flax's
    `TrainState`.

    Args:
        optimizer: a learned optimizer, the name of a published one, or a published directory.
        horizon: length of the training run in steps, which may be traced; some rules need it.
        layout: what the axes of the parameters are, where their names do not tell (see `lopt.layouts`): a
            tree like them, or its top, of `lopt.Layout`, `optax.contrib.MuonDimensionNumbers` or None for
            what is no matrix; or a function of the parameters that returns one.

    Returns:
        A transformation whose updates are to be *added*, as `optax.apply_updates` does.

    Raises:
        UsageError: when the rule needs a horizon and none is given, or the horizon is no whole number from 1.

    Examples:
        >>> import jax, lopt, optax
        >>> tx = lopt.as_optax(lopt.create("learnable-adam", jax.random.key(0)))
        >>> params = {"w": jax.numpy.ones(3)}
        >>> state = tx.init(params)
        >>> updates, state = tx.update({"w": jax.numpy.ones(3)}, state, params)
        >>> float(optax.apply_updates(params, updates)["w"][0]) < 1
        True
    """
    rule = optimizer if isinstance(optimizer, LearnedOptimizer) else load(optimizer)
    name = type(rule).__name__
    if rule.needs_horizon or horizon is not None:
        checked_horizon(horizon, name)
    if layout is not None:
        rule = rule.replace(layout=layout if callable(layout) else lambda _: layout)

    def init(params: Params) -> State:
        # Copies, because one buffer in two places of a state cannot be donated to jit.
        return jax.tree.map(jnp.copy, rule.init(params, horizon))

    def update(
        updates: Updates,
        state: State,
        params: Params | None = None,
        *,
        value: Float[Array, ""] | None = None,
        **extra: Any,
    ) -> tuple[Updates, State]:
        del extra
        if params is None:
            raise UsageError(f"{name} reads the parameters: call tx.update(grads, state, params)")
        return rule.update(updates, state, params, value)

    return optax.GradientTransformationExtraArgs(init, update)

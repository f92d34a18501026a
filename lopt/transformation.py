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
from .weight_decay import with_weight_decay


def as_optax(
    optimizer: LearnedOptimizer | str | PathLike[str],
    horizon: Int[Array, ""] | int | None = None,
    *,
    layout: LayoutOption | None = None,
    weight_decay: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Turn a learned optimizer into an optax transformation.

    It works with plain `tx.update(grads, state, params)`, uses `value=` (the loss) if the rule reads it, and
    ignores other extra arguments, so it can be chained with optax's own transformations and used in flax's
    `TrainState`.

    Args:
        optimizer: a learned optimizer, the name of a published one, or a published directory.
        horizon: length of the training run in steps; may be traced. Some rules need it.
        layout: the roles of the parameters' axes, if their names are not enough (see `lopt.layouts`): a tree
            like the parameters, or a prefix of it, with leaves `lopt.Layout`,
            `optax.contrib.MuonDimensionNumbers`, or None for a tensor that is not a matrix; or a function of
            the parameters that returns such a tree.
        weight_decay: strength of decoupled weight decay, for rules that have it (see their docstrings for its
            unit); 0 for none, None for the rule's own.

    Returns:
        A transformation whose updates are to be *added*, as `optax.apply_updates` does.

    Raises:
        UsageError: if the rule needs a horizon and none is given, or the horizon is not a whole number of at
            least 1; for a weight decay that is negative or not finite, or that the rule doesn't have.

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
    if weight_decay is not None:
        rule = with_weight_decay(rule, weight_decay)

    def init(params: Params) -> State:
        # Copies, because a buffer that occurs twice in a state cannot be donated to jit.
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

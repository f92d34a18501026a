"""A learned optimizer as an ordinary optax gradient transformation."""

from __future__ import annotations

from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from .base import LearnedOptimizer, Params, State, Updates
from .publish import load


def as_optax(
    optimizer: LearnedOptimizer | str | PathLike[str], horizon: Int[Array, ""] | int | None = None
) -> optax.GradientTransformationExtraArgs:
    """Turn a learned optimizer into an optax transformation.

    It works under plain `tx.update(grads, state, params)`, uses `value=` (the loss) where the rule reads it,
    and ignores other extra arguments; so it chains with optax's own transformations and sits in flax's
    `TrainState`.

    Args:
        optimizer: a learned optimizer, the name of a published one, or a published directory.
        horizon: length of the training run in steps, which may be traced; only rules that need it ask for it.

    Returns:
        A transformation whose updates are to be *added*, as `optax.apply_updates` does.

    Raises:
        ValueError: when the rule needs a horizon and none, or one below 1, is given.

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
    if rule.needs_horizon and horizon is None:
        raise ValueError(
            f"{name} needs the length of the training run: lopt.as_optax(..., horizon=10_000), in steps"
        )
    if isinstance(horizon, int) and horizon < 1:
        raise ValueError(f"horizon must be at least 1 step, not {horizon}")

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
            raise ValueError(f"{name} reads the parameters: call tx.update(grads, state, params)")
        return rule.update(updates, state, params, value)

    return optax.GradientTransformationExtraArgs(init, update)

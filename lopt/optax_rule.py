"""Optax optimizers as learned optimizers: theta is their hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates
from .errors import UsageError

Make = Callable[..., optax.GradientTransformation]


class OptaxState(NamedTuple):
    """State of an `OptaxRule`."""

    horizon: Int[Array, ""] | None
    """Length of the run in inner steps, for scheduled rules; None otherwise."""
    transformation: Any
    """Optax's state."""


class OptaxRule(LearnedOptimizer):
    """An optax optimizer whose theta is its hyperparameters: a sweep is one `vmap` over stacked rules.

    `make` is compared by identity when compiled programs are cached, so it should be a module-level function,
    not a new lambda for every rule.
    """

    hyperparameters: dict[str, Float[Array, ""]]
    """Hyperparameters by the names of `make`'s arguments."""
    make: Make = struct.field(pytree_node=False)
    """Returns the transformation for the hyperparameters, given by keyword; they may be traced."""
    scheduled: bool = struct.field(pytree_node=False, default=False)
    """Whether `make` also takes the run's length: `horizon`, an int32 scalar, in inner steps."""
    measured_at: Callable[[Any, Params], Params] | None = struct.field(pytree_node=False, default=None)
    """For an optimizer whose result is not the trained parameters (Schedule-Free, averages of iterates):
    returns the result from optax's state and the parameters, both after an update."""

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        make: Make = optax.adam,
        scheduled: bool = False,
        measured_at: Callable[[Any, Params], Params] | None = None,
        **hyperparameters: Any,
    ) -> Self:
        """Take the hyperparameters as given, floats or arrays; `key` is not used."""
        arrays = {name: jnp.asarray(value, jnp.float32) for name, value in hyperparameters.items()}
        return cls(arrays, make, scheduled, measured_at)

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> OptaxState:
        """Return optax's initial state.

        Raises:
            UsageError: if the rule is scheduled and no horizon is given.
        """
        if not self.scheduled:
            return OptaxState(None, self._transformation(None).init(_wide(params)))
        if horizon is None:
            raise UsageError(
                "a scheduled rule needs the length of the run: init(params, horizon), in inner steps"
            )
        horizon = jnp.asarray(horizon, jnp.int32)
        return OptaxState(horizon, self._transformation(horizon).init(_wide(params)))

    def update(
        self, grads: Updates, state: OptaxState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, OptaxState]:
        """Run optax's update in float32; the loss is passed as `value`."""
        transformation = optax.with_extra_args_support(self._transformation(state.horizon))
        extra = {} if loss is None else {"value": loss}
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
            updates, after = transformation.update(_wide(grads), state.transformation, _wide(params), **extra)
        updates = jax.tree.map(lambda u, p: u.astype(p.dtype), updates, params)
        return updates, OptaxState(state.horizon, after)

    def evaluated(self, state: OptaxState, params: Params) -> Params:
        return params if self.measured_at is None else self.measured_at(state.transformation, params)

    def _transformation(self, horizon: Int[Array, ""] | None) -> optax.GradientTransformation:
        extra = {"horizon": horizon} if self.scheduled else {}
        return self.make(**self.hyperparameters, **extra)


def _wide(tree: Any) -> Any:
    """Convert to float32: traced hyperparameters would otherwise change the dtypes of optax's state."""
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)

"""The interface of this package: an update rule that carries its own meta-parameters.

Read this file first; every architecture is a short implementation of it.
"""

from __future__ import annotations

import abc
import dataclasses
import inspect
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key, PyTree

from .errors import UsageError
from .layout import LayoutOption, layouts

Params = PyTree[Array]
Updates = PyTree[Array]
State = Any


class LearnedOptimizer(struct.PyTreeNode, abc.ABC):
    """An optax-shaped update rule whose array leaves *are* the meta-parameters theta.

    A learned optimizer is an immutable flax dataclass. Its array fields are theta; every other field is
    static (`struct.field(pytree_node=False)`) and belongs to the architecture. So perturbing theta is a
    `jax.tree.map` over the optimizer, a population of optimizers is an ordinary `jax.vmap`, and a
    hand-designed rule (`LearnableAdam`) goes through the same code as a neural one.

    Implementations work leaf by leaf, accept parameters of any rank and float dtype, compute in float32,
    return updates in each parameter's dtype, and never look at values to choose a shape.
    """

    needs_horizon: ClassVar[bool] = False
    """Whether `init` must be told how many inner steps the training run will last."""

    layout: LayoutOption = struct.field(pytree_node=False, default=layouts, kw_only=True, repr=False)
    """The roles of the parameters' axes. It depends on the model, and is not part of the architecture."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the class a static field: jax 0.10 treats structures as equal if they differ only in class.

        It distinguishes them by a few bits of their hashes. One time in a hundred, a jitted function that is
        given two optimizers would run the first one's program on both.
        """
        cls.__annotations__ = inspect.get_annotations(cls) | {"_class": type}
        cls._class = struct.field(pytree_node=False, default=cls, kw_only=True, repr=False)
        super().__init_subclass__(**kwargs)

    @classmethod
    @abc.abstractmethod
    def create(cls, key: Key[Array, ""], **static: Any) -> Self:
        """Draw an initial theta.

        Args:
            key: a typed PRNG key.
            **static: values of the static fields, each with a default.
        """

    @abc.abstractmethod
    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> State:
        """Return the state at the start of a training run.

        Args:
            params: the parameters to be trained, a tree of float arrays.
            horizon: length of the run in inner steps; may be traced. Rules with `needs_horizon` need it.
        """

    @abc.abstractmethod
    def update(
        self, grads: Updates, state: State, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, State]:
        """Turn gradients into updates to be *added* to the parameters.

        Args:
            grads: gradients, the structure and shapes of `params`.
            state: the state returned by `init` or the last `update`.
            params: the current parameters.
            loss: the current loss, if known; a rule must work without it.

        Returns:
            The updates, in the dtypes of `params`, and the next state.
        """

    def evaluated(self, state: State, params: Params) -> Params:
        """Return the parameters at which the rule should be evaluated; by default, those that it trains.

        Override this in rules that average their iterates or train at a different point than their result.

        Args:
            state: the state returned by the last `update`.
            params: the parameters after it.

        Returns:
            Parameters of the structure, shapes and dtypes of `params`.
        """
        return params


def next_count(count: Int[Array, ""]) -> Int[Array, ""]:
    """Return count + 1, stopping at the largest int32 instead of wrapping around."""
    return jnp.asarray(optax.safe_increment(count))


def checked_horizon(horizon: Int[Array, ""] | int | None, rule: str) -> Int[Array, ""]:
    """Return the length of a training run as an int32.

    Args:
        horizon: a whole number of steps; arrays may be traced.
        rule: name of the rule that needs it, for error messages.

    Raises:
        UsageError: if it is None, or not an integer scalar, or, unless traced, not from 1 to 2**31 - 1.
    """
    if horizon is None:
        raise UsageError(f"{rule} needs the length of the training run: give horizon=10_000, in steps")
    is_known = not isinstance(horizon, Tracer)
    given: Any = np.asarray(horizon) if is_known else horizon
    if given.shape != () or not jnp.issubdtype(given.dtype, jnp.integer):
        raise UsageError(f"horizon must be a whole number of steps, not {horizon!r}: int(...) makes one")
    if is_known and int(given) < 1:
        raise UsageError(f"horizon must be at least 1 step, not {int(given)}")
    if is_known and int(given) >= 2**31:
        raise UsageError(f"horizon must be below 2**31 steps, not {int(given)}")
    return jnp.asarray(horizon, jnp.int32)


def static_fields(optimizer: LearnedOptimizer) -> dict[str, Any]:
    """Return the architecture's static fields by name, as `create` takes them."""
    return {
        field.name: getattr(optimizer, field.name)
        for field in dataclasses.fields(optimizer)
        if not field.metadata.get("pytree_node", True) and field.name not in ("_class", "layout")
    }


def theta_size(optimizer: LearnedOptimizer) -> int:
    """Return the number of meta-parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(optimizer))

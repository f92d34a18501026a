"""Optax optimizers as learned optimizers, so that baselines run through the same inner step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from lopt import LearnedOptimizer
from tasks import Split, Task

Make = Callable[..., optax.GradientTransformation]
Params = Any
Updates = Any


class OptaxState(NamedTuple):
    """State of an `OptaxRule`."""

    horizon: Int[Array, ""] | None
    """Length of the run in inner steps, for scheduled rules; constant."""
    transformation: Any
    """Optax's own; changes every inner step."""


class OptaxRule(LearnedOptimizer):
    """An optax optimizer whose theta is its hyperparameters: a sweep is one `vmap` over stacked rules.

    `make` is compared by identity when programs are cached, so it should be a function of a module, not a
    lambda made anew for every rule.
    """

    hyperparameters: dict[str, Float[Array, ""]]
    """By the names that `make` takes."""
    make: Make = struct.field(pytree_node=False)
    """Makes the transformation from the hyperparameters, given by keyword; they may be traced."""
    scheduled: bool = struct.field(pytree_node=False, default=False)
    """Whether `make` takes the run's length, too: `horizon`, an int32 scalar, in inner steps."""

    @classmethod
    def create(
        cls, key: Key[Array, ""], make: Make = optax.adam, scheduled: bool = False, **hyperparameters: Any
    ) -> Self:
        """Take the hyperparameters as given, floats or arrays; nothing is random."""
        arrays = {name: jnp.asarray(value, jnp.float32) for name, value in hyperparameters.items()}
        return cls(arrays, make, scheduled)

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> OptaxState:
        """Return optax's own first state.

        Raises:
            ValueError: when the rule is scheduled and no horizon is given.
        """
        if not self.scheduled:
            return OptaxState(None, self._transformation(None).init(_wide(params)))
        if horizon is None:
            raise ValueError(
                "a scheduled rule needs the length of the run: init(params, horizon), in inner steps"
            )
        horizon = jnp.asarray(horizon, jnp.int32)
        return OptaxState(horizon, self._transformation(horizon).init(_wide(params)))

    def update(
        self, grads: Updates, state: OptaxState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, OptaxState]:
        """Let optax update, in float32; the loss goes to it as `value`."""
        transformation = optax.with_extra_args_support(self._transformation(state.horizon))
        extra = {} if loss is None else {"value": loss}
        updates, after = transformation.update(_wide(grads), state.transformation, _wide(params), **extra)
        updates = jax.tree.map(lambda u, p: u.astype(p.dtype), updates, params)
        return updates, OptaxState(state.horizon, after)

    def _transformation(self, horizon: Int[Array, ""] | None) -> optax.GradientTransformation:
        extra = {"horizon": horizon} if self.scheduled else {}
        return self.make(**self.hyperparameters, **extra)


class Points(NamedTuple):
    """Parameters of a run that takes its gradients at one point and is measured at another."""

    trained: Params
    """Where gradients are taken, and what the training loss is of."""
    measured: Params
    """What the optimizer would hand out, and what the held-out loss is of."""


class TwoPointRule(LearnedOptimizer):
    """An `OptaxRule` whose result is not where it trains (Schedule-Free, averages of iterates).

    Its parameters are `Points`, of a `TwoPointTask`.
    """

    rule: OptaxRule
    """Moves `Points.trained`."""
    measured_at: Callable[[Any, Params], Params] = struct.field(pytree_node=False)
    """Gives `Points.measured` from optax's state and `Points.trained`, both after the update."""

    @classmethod
    def create(
        cls, key: Key[Array, ""], measured_at: Callable[[Any, Params], Params], **options: Any
    ) -> Self:
        """Take the options of `OptaxRule.create`; nothing is random."""
        return cls(OptaxRule.create(key, **options), measured_at)

    def init(self, params: Points, horizon: Int[Array, ""] | int | None = None) -> OptaxState:
        """Return the rule's first state."""
        return self.rule.init(params.trained, horizon)

    def update(
        self, grads: Points, state: OptaxState, params: Points, loss: Float[Array, ""] | None = None
    ) -> tuple[Points, OptaxState]:
        """Let the rule update where it trains, and bring the other point to where that leads."""
        updates, state = self.rule.update(grads.trained, state, params.trained, loss)
        trained = optax.apply_updates(params.trained, updates)
        measured = self.measured_at(state.transformation, trained)
        moves = jax.tree.map(lambda after, before: after - before, measured, params.measured)
        return Points(updates, moves), state


class _Batch(struct.PyTreeNode):
    """A batch that remembers whether it is of the training split."""

    content: Any
    trains: bool = struct.field(pytree_node=False)


class TwoPointTask(Task):
    """A task whose parameters are `Points`: training batches see one, those of other splits the other."""

    task: Task

    def sample(self, key: Key[Array, ""]) -> Any:
        return self.task.sample(key)

    def init(self, instance: Any, key: Key[Array, ""]) -> Points:
        params = self.task.init(instance, key)
        return Points(params, params)

    def batch(self, instance: Any, key: Key[Array, ""], split: Split) -> _Batch:
        return _Batch(self.task.batch(instance, key, split), split == "train")

    def loss(self, instance: Any, params: Points, batch: _Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        point = params.trained if batch.trains else params.measured
        return self.task.loss(instance, point, batch.content, key)

    @property
    def ceiling(self) -> float:
        return self.task.ceiling


def _wide(tree: Any) -> Any:
    """Widen to float32: traced hyperparameters would otherwise change the dtypes of optax's state."""
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)

"""Wrappers of tasks: another parametrisation, noisier gradients, smaller batches.

Each wraps a task and is a task itself, so they can be nested: `NoisyGradient(Reparametrised(task),
scale=0.3)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key, PyTree

from ..base import AnyBatch, Instance, Params, Task
from ..data.prepared import Split
from ..errors import UsageError
from ..hyperparameters import Hyperparameter
from ..layers import check_ranges, log_uniform

# Added to a mean square, so that its root is differentiable if a gradient is zero.
_TINY = 1e-30

# Folded into keys that the wrapped task also uses, so that wrapping doesn't change its own draws.
_FACTORS, _NOISE = 0x5CA1E, 0x401CE


class ReparametrisedInstance(NamedTuple):
    """A member of the wrapped task and the factors of its parameters."""

    task: Instance
    factors: PyTree[Float[Array, ""]]
    """A scalar for each tensor of the parameters."""


class Reparametrised(Task):
    """Divide parameters by a random factor, and multiply by it in the loss.

    The problem is the same, but gradients are `factor` times as large and parameters that much smaller: a
    rule has to find the scale of its steps. Factors are log-uniform between `low` and `high`, one for all
    parameters (`level="global"`) or one for each tensor (`"tensor"`).

    References:
        Metz et al. 2022, arXiv:2211.09760 (VeLO's task augmentation).
        Moudgil et al. 2025, arXiv:2501.12670 (Celo).

    Raises:
        UsageError: for an empty range, or an unknown level.
    """

    task: Task
    low: float = struct.field(pytree_node=False, default=0.1)
    high: float = struct.field(pytree_node=False, default=10.0)
    level: Literal["global", "tensor"] = struct.field(pytree_node=False, default="global")

    def __post_init__(self) -> None:
        check_ranges(factors=(self.low, self.high))
        if self.level not in ("global", "tensor"):
            raise UsageError(f"there is no level {self.level!r}: give 'global' or 'tensor'")

    def sample(self, key: Key[Array, ""]) -> ReparametrisedInstance:
        """Draw a member of the wrapped task, then factors."""
        member = self.task.sample(key)
        shapes, tree = jax.tree.flatten(jax.eval_shape(self.task.init, member, key))
        factor_key = jax.random.fold_in(key, _FACTORS)
        if self.level == "global":
            factors = [log_uniform(factor_key, self.low, self.high)] * len(shapes)
        else:
            keys = jax.random.split(factor_key, len(shapes))
            factors = list(jax.vmap(lambda key: log_uniform(key, self.low, self.high))(keys))
        return ReparametrisedInstance(member, jax.tree.unflatten(tree, factors))

    def init(self, instance: ReparametrisedInstance, key: Key[Array, ""]) -> Params:
        """Draw the wrapped task's parameters, divided by their factors."""
        params = self.task.init(instance.task, key)
        return jax.tree.map(lambda p, factor: (p / factor).astype(p.dtype), params, instance.factors)

    def batch(self, instance: ReparametrisedInstance, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw a batch of the wrapped task."""
        return self.task.batch(instance.task, key, split)

    def loss(
        self, instance: ReparametrisedInstance, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the wrapped task's loss for the parameters times their factors."""
        return self.task.loss(instance.task, _times(params, instance.factors), batch, key)

    def accuracy(
        self, instance: ReparametrisedInstance, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""] | None:
        """Return the wrapped task's accuracy with the parameters times their factors."""
        return self.task.accuracy(instance.task, _times(params, instance.factors), batch, key)

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """Those of the wrapped task."""
        return self.task.hyperparameters

    def tuned(
        self, instance: ReparametrisedInstance, values: Mapping[str, Float[Array, ""]]
    ) -> ReparametrisedInstance:
        """Return the member whose wrapped one has given hyperparameters."""
        return instance._replace(task=self.task.tuned(instance.task, values))

    @property
    def ceiling(self) -> float:
        """That of the wrapped task."""
        return self.task.ceiling


def _times(params: Params, factors: PyTree[Float[Array, ""]]) -> Params:
    return jax.tree.map(lambda p, factor: (p * factor).astype(p.dtype), params, factors)


class NoisyGradient(Task):
    """Add Gaussian noise to the gradient of a task, and keep its loss bitwise unchanged.

    The noise of a tensor has mean zero and a standard deviation of `scale` times the root mean square of that
    tensor's gradient. It is drawn from the loss's key: the same key gives the same noise. Derivatives with
    respect to variables that the parameters depend on (theta, in backpropagation through training) contain
    the noise, too, as a term of mean zero. Computing only the loss costs nothing extra; a gradient is
    computed twice, because its size is needed, unless the compiler merges the two computations.

    Raises:
        UsageError: for a negative scale.
    """

    task: Task
    scale: float = struct.field(pytree_node=False, default=0.3)

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise UsageError(f"scale={self.scale} is negative: give 0 (no noise) or more")

    def sample(self, key: Key[Array, ""]) -> Instance:
        """Draw a member of the wrapped task."""
        return self.task.sample(key)

    def init(self, instance: Instance, key: Key[Array, ""]) -> Params:
        """Draw the wrapped task's parameters."""
        return self.task.init(instance, key)

    def batch(self, instance: Instance, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw a batch of the wrapped task."""
        return self.task.batch(instance, key, split)

    def loss(
        self, instance: Instance, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the wrapped task's loss; its gradient is noisy."""
        loss = self.task.loss(instance, params, batch, key)
        if self.scale == 0:
            return loss
        gradient = jax.grad(self.task.loss, argnums=1)(instance, params, batch, key)
        leaves, tree = jax.tree.flatten(gradient)
        keys = jax.random.split(jax.random.fold_in(key, _NOISE), len(leaves))
        noise = [
            self.scale * jnp.sqrt(jnp.mean(jnp.square(g)) + _TINY) * jax.random.normal(k, g.shape, g.dtype)
            for k, g in zip(keys, leaves, strict=True)
        ]
        return loss + _zero_with_gradient(params, jax.tree.unflatten(tree, noise)).astype(loss.dtype)

    def accuracy(
        self, instance: Instance, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""] | None:
        """Return the wrapped task's accuracy."""
        return self.task.accuracy(instance, params, batch, key)

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """Those of the wrapped task."""
        return self.task.hyperparameters

    def tuned(self, instance: Instance, values: Mapping[str, Float[Array, ""]]) -> Instance:
        """Return the member whose wrapped one has given hyperparameters."""
        return self.task.tuned(instance, values)

    @property
    def ceiling(self) -> float:
        """That of the wrapped task."""
        return self.task.ceiling


@jax.custom_jvp
def _zero_with_gradient(params: Params, gradient: Params) -> Float[Array, ""]:
    """Return 0, with the gradient with respect to `params` defined as `gradient`."""
    del params, gradient
    return jnp.zeros(())


@_zero_with_gradient.defjvp
def _zero_with_gradient_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (params, gradient), (moves, _) = primals, tangents
    products = jax.tree.map(lambda g, move: jnp.sum(g * move), gradient, moves)
    return _zero_with_gradient(params, gradient), sum(jax.tree.leaves(products), jnp.zeros(()))


class SmallerBatches(Task):
    """Keep the first rows of every batch, a given fraction rounded up, and renormalise their weights.

    Batches must be named tuples of arrays with one row per example, among them `weights`, the weight of each.

    Raises:
        UsageError: for a fraction that is not in (0, 1]; by `batch`, if batches have no weights.
    """

    task: Task
    fraction: float = struct.field(pytree_node=False, default=0.5)

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise UsageError(
                f"fraction={self.fraction} is not a share of a batch: give more than 0 and at most 1"
            )

    def sample(self, key: Key[Array, ""]) -> Instance:
        """Draw a member of the wrapped task."""
        return self.task.sample(key)

    def init(self, instance: Instance, key: Key[Array, ""]) -> Params:
        """Draw the wrapped task's parameters."""
        return self.task.init(instance, key)

    def batch(self, instance: Instance, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw a batch of the wrapped task and keep its first rows."""
        batch = self.task.batch(instance, key, split)
        if not hasattr(batch, "weights"):
            raise UsageError(
                f"batches of {type(self.task).__name__} have no `weights` and cannot be made smaller: "
                "wrap a task that draws a tasks.Batch, like ImageMLP"
            )
        rows = math.ceil(self.fraction * batch.weights.shape[0])
        if rows == batch.weights.shape[0]:
            return batch
        kept = jax.tree.map(lambda leaf: leaf[:rows], batch)
        return kept._replace(weights=kept.weights / jnp.sum(kept.weights))

    def loss(
        self, instance: Instance, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the wrapped task's loss on the smaller batch."""
        return self.task.loss(instance, params, batch, key)

    def accuracy(
        self, instance: Instance, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""] | None:
        """Return the wrapped task's accuracy on the smaller batch."""
        return self.task.accuracy(instance, params, batch, key)

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """Those of the wrapped task."""
        return self.task.hyperparameters

    def tuned(self, instance: Instance, values: Mapping[str, Float[Array, ""]]) -> Instance:
        """Return the member whose wrapped one has given hyperparameters."""
        return self.task.tuned(instance, values)

    @property
    def ceiling(self) -> float:
        """That of the wrapped task."""
        return self.task.ceiling

"""The training of a network under hyperparameters, as dynamics: theta is their free numbers."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from lopt import UsageError
from tasks import Split, Task

from ..dynamics import Minimising
from .optimizers import OPTIMIZERS
from .schedules import SCHEDULES
from .space import FreeNumbers
from .written import Tuning

Measure = Literal["loss", "error", "loss+error"]
"""What a step is judged by; the error is one minus the accuracy, which has no derivative."""


class TunedState(NamedTuple):
    """A training run between two inner steps."""

    params: Any
    """Changes every inner step."""
    optimizer: Any
    """One state for each group of tensors that has values of its own. Changes every inner step."""
    instance: Any
    """Changes every episode: the member of the task family."""
    count: Int[Array, ""]
    """Inner steps done."""
    horizon: Int[Array, ""]
    """Inner steps of the whole run, as the schedule knows it."""


class TunedTraining(Minimising):
    """Train one instance of a task by an optimizer whose hyperparameters theta holds.

    A step uses the values of theta as it is then; under an estimator whose theta moves between windows, so do
    the hyperparameters. What is measured after the update is `measure` on a fresh batch of `measured_on`.

    Raises:
        UsageError: when the task has no accuracy, and the error is asked for.
    """

    task: Task
    tuning: Tuning = struct.field(pytree_node=False)
    members: tuple[tuple[int, ...], ...] = struct.field(pytree_node=False, default=())
    """Which leaves of the parameters each group of the space holds; none where there is one group."""
    measured_on: Split = struct.field(pytree_node=False, default="inner_valid")
    measure: Measure = struct.field(pytree_node=False, default="loss")

    def init(self, theta: FreeNumbers, horizon: Int[Array, ""], key: Key[Array, ""]) -> TunedState:
        """Draw an instance and its initial parameters, and start the optimizer on them."""
        sample_key, init_key = jax.random.split(key)
        values = self._values(theta)
        instance = self._instance(self.task.sample(sample_key), values, measured=False)
        params = self.task.init(instance, init_key)
        with jax.numpy_dtype_promotion("standard"):  # which optax relies on
            optimizer = tuple(
                self._rule(values, number, jnp.ones((), jnp.float32)).init(leaves)
                for number, leaves in enumerate(self._split(params))
            )
        zero = jnp.zeros((), jnp.int32)
        return TunedState(params, optimizer, instance, zero, jnp.asarray(horizon, jnp.int32))

    def step(
        self, theta: FreeNumbers, state: TunedState, key: Key[Array, ""]
    ) -> tuple[TunedState, Float[Array, ""]]:
        """Do one inner step, and measure what it led to."""
        batch_key, loss_key, noise_key, measure_key = jax.random.split(key, 4)
        values = self._values(theta)
        instance = self._instance(state.instance, values, measured=False)
        batch = self.task.batch(instance, batch_key, "train")
        grads = jax.grad(self._train_loss)(state.params, instance, batch, values, loss_key)
        grads = self._disturbed(grads, values, noise_key)
        share = state.count.astype(jnp.float32) / state.horizon.astype(jnp.float32)
        params, optimizer = self._updated(state, grads, values, share)
        state = TunedState(params, optimizer, instance, state.count + 1, state.horizon)
        return state, self._measured(self._instance(instance, values, measured=True), params, measure_key)

    def parameters(self, state: TunedState) -> Any:
        """Return the network's parameters."""
        return state.params

    def inner_loss(
        self, theta: FreeNumbers, state: TunedState, parameters: Any, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the training loss of a batch."""
        batch_key, loss_key = jax.random.split(key)
        values = self._values(theta)
        instance = self._instance(state.instance, values, measured=False)
        batch = self.task.batch(instance, batch_key, "train")
        return self._train_loss(parameters, instance, batch, values, loss_key)

    def outer_loss(
        self, theta: FreeNumbers, state: TunedState, parameters: Any, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return what is measured on a batch."""
        instance = self._instance(state.instance, self._values(theta), measured=True)
        return self._measured(instance, parameters, key)

    @property
    def ceiling(self) -> float:
        """The task's own; of the error 1, and of both the sum."""
        return {"loss": self.task.ceiling, "error": 1.0, "loss+error": self.task.ceiling + 1}[self.measure]

    def _values(self, theta: FreeNumbers) -> dict[str, Array]:
        """Return every hyperparameter that is tuned or set, by name."""
        fixed = {name: jnp.asarray(value, jnp.float32) for name, value in self.tuning.fixed}
        return fixed | self.tuning.space.values(theta)

    def _instance(self, instance: Any, values: dict[str, Array], measured: bool) -> Any:
        """Return the member with the task's own hyperparameters, as in training or where it is measured."""
        own = {}
        for name, hyperparameter in self.task.hyperparameters.items():
            if name in values:
                neutral = hyperparameter.measured if measured else None
                own[name] = values[name] if neutral is None else jnp.asarray(neutral, jnp.float32)
        return self.task.tuned(instance, own) if own else instance

    def _train_loss(
        self, params: Any, instance: Any, batch: Any, values: dict[str, Array], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        loss = self.task.loss(instance, params, batch, key)
        if "l2" in values:
            loss = loss + 0.5 * values["l2"] * optax.tree.norm(params, squared=True)
        return loss

    def _disturbed(self, grads: Any, values: dict[str, Array], key: Key[Array, ""]) -> Any:
        """Return the gradient with noise, and clipped, where these are asked for."""
        if "gradient_noise" in values:
            noise = optax.tree.random_like(key, grads, jax.random.normal)
            grads = jax.tree.map(lambda g, n: g + values["gradient_noise"].astype(g.dtype) * n, grads, noise)
        if "clip" in values:
            norm = jnp.sqrt(optax.tree.norm(grads, squared=True) + 1e-30)
            factor = jnp.minimum(1.0, values["clip"] / norm)
            grads = jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)
        return grads

    def _updated(
        self, state: TunedState, grads: Any, values: dict[str, Array], share: Float[Array, ""]
    ) -> tuple[Any, Any]:
        factor = SCHEDULES[self.tuning.schedule].factor(share, values)
        groups = zip(self._split(state.params), self._split(grads), state.optimizer, strict=True)
        updated, states = [], []
        for number, (params, gradient, optimizer) in enumerate(groups):
            with jax.numpy_dtype_promotion("standard"):  # which optax relies on
                updates, optimizer = self._rule(values, number, factor).update(gradient, optimizer, params)
            updated.append(optax.apply_updates(params, updates))
            states.append(optimizer)
        return self._join(updated, state.params), tuple(states)

    def _rule(
        self, values: dict[str, Array], group: int, factor: Float[Array, ""]
    ) -> optax.GradientTransformation:
        """Return the optimizer of a group of tensors, with the values that hold now."""
        optimizer = OPTIMIZERS[self.tuning.optimizer]
        own = {
            name: value[group] if value.ndim else value
            for name, value in values.items()
            if name in optimizer.hyperparameters
        }
        own = optimizer.defaults | own
        if "learning_rate" in own:
            own["learning_rate"] = own["learning_rate"] * factor
        return optimizer.make(**own)

    def _split(self, tree: Any) -> list[Any]:
        """Return the leaves of each group."""
        if not self.members:
            return [tree]
        leaves = jax.tree.leaves(tree)
        return [[leaves[n] for n in group] for group in self.members]

    def _join(self, groups: list[Any], tree: Any) -> Any:
        if not self.members:
            return groups[0]
        leaves, treedef = jax.tree.flatten(tree)
        for numbers, group in zip(self.members, groups, strict=True):
            for n, leaf in zip(numbers, group, strict=True):
                leaves[n] = leaf
        return treedef.unflatten(leaves)

    def _measured(self, instance: Any, params: Any, key: Key[Array, ""]) -> Float[Array, ""]:
        batch_key, loss_key = jax.random.split(key)
        batch = self.task.batch(instance, batch_key, self.measured_on)
        total = jnp.zeros((), jnp.float32)
        if "loss" in self.measure:
            total += jnp.asarray(self.task.loss(instance, params, batch, loss_key), jnp.float32)
        if "error" in self.measure:
            accuracy = self.task.accuracy(instance, params, batch, loss_key)
            if accuracy is None:
                raise UsageError(f"{type(self.task).__name__} has no accuracy: measure its loss")
            total += 1 - jnp.asarray(accuracy, jnp.float32)
        return total

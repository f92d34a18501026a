"""Inner training as dynamics: theta is the optimizer, the state is the training run."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from lopt import LearnedOptimizer
from tasks import Split, Task

from ..dynamics import Dynamics


class PromptState(NamedTuple):
    """A training run between two inner steps."""

    params: Any
    """Changes every inner step."""
    optimizer: Any
    """Changes every inner step."""
    instance: Any
    """Changes every episode: the member of the task family."""


class DelayedState(NamedTuple):
    """State of an inner training run whose gradients arrive late."""

    params: Any
    optimizer: Any
    instance: Any
    late: Any
    """Gradients that have not arrived yet, the oldest first, stacked."""


InnerState = PromptState | DelayedState
"""State of an inner training run: most have no queue of gradients, and their checkpoints have none."""


class InnerTraining(Dynamics):
    """Train one instance of a task with a learned optimizer.

    The loss of a step is, by `measured_on`:
      * "train": the training loss before the update, from the gradient computation, at no extra cost;
      * any other split: the loss of a fresh batch of that split after the update, by one more forward pass.
    """

    task: Task
    measured_on: Split = struct.field(pytree_node=False, default="train")

    def init(self, theta: LearnedOptimizer, horizon: Int[Array, ""], key: Key[Array, ""]) -> InnerState:
        """Draw an instance and its initial parameters, and start the optimizer on them."""
        sample_key, init_key = jax.random.split(key)
        instance = self.task.sample(sample_key)
        params = self.task.init(instance, init_key)
        state = PromptState(params, theta.init(params, horizon), instance)
        delay = self.task.gradient_delay
        if not delay:
            return state
        none_yet = jax.tree.map(lambda p: jnp.zeros((delay, *p.shape), p.dtype), params)
        return DelayedState(*state, none_yet)

    def step(
        self, theta: LearnedOptimizer, state: InnerState, key: Key[Array, ""]
    ) -> tuple[InnerState, Float[Array, ""]]:
        """Do one inner step: draw a batch, compute the gradient, and update the parameters."""
        batch_key, loss_key, measure_key = jax.random.split(key, 3)
        params, instance = state.params, state.instance
        batch = self.task.batch(instance, batch_key, "train")
        loss, grads = jax.value_and_grad(self.task.loss, argnums=1)(instance, params, batch, loss_key)
        if isinstance(state, DelayedState):
            grads, late = _exchange(grads, state.late)
            state = state._replace(late=late)
        updates, optimizer = theta.update(grads, state.optimizer, params, loss)
        params = optax.apply_updates(params, updates)
        if self.measured_on != "train":
            loss = self._measure(instance, params, measure_key)
        return state._replace(params=params, optimizer=optimizer), jnp.asarray(loss, jnp.float32)

    @property
    def ceiling(self) -> float:
        """The task's ceiling."""
        return self.task.ceiling

    def _measure(self, instance: Any, params: Any, key: Key[Array, ""]) -> Float[Array, ""]:
        batch_key, loss_key = jax.random.split(key)
        batch = self.task.batch(instance, batch_key, self.measured_on)
        return self.task.loss(instance, params, batch, loss_key)


def _exchange(gradient: Any, late: Any) -> tuple[Any, Any]:
    """Send a gradient off; return the one that arrives, and those that are still on their way."""
    arrived = jax.tree.map(lambda queue: queue[0], late)
    return arrived, jax.tree.map(lambda queue, g: jnp.concatenate([queue[1:], g[None]]), late, gradient)

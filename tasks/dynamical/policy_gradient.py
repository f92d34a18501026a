"""A policy that learns from its own tries: the gradient is an estimate by the score function."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Task
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import Layers, check_ranges, log_uniform
from ..perceptron import Perceptron, PerceptronInstance, perceptron_family
from ..registry import register

_ACTIONS = 3
"""Push left, do nothing, push right."""
_STEP = 0.2
"""Seconds between two actions."""


class PolicyInstance(NamedTuple):
    """One environment and one policy."""

    gravity: Float[Array, ""]
    """Acceleration away from upright, times the sine of the angle; 0 is a mass on a line."""
    friction: Float[Array, ""]
    force: Float[Array, ""]
    """Acceleration by a push."""
    perceptron: PerceptronInstance


class PolicyGradient(Task):
    """Keep a pendulum upright, or a mass at the origin, by pushes to the left and right.

    The loss is the mean cost of a step, 1 - exp(-(angle^2 + speed^2 / 4) / 2), over `rollouts` tries of
    `steps` steps from random states. Its gradient is REINFORCE's unbiased estimate of the gradient of the
    expected cost: that of each action's logarithmic probability, times the costs from then on, less their
    mean over the other tries. Actions are drawn with the loss's key. Gravity, friction and force are
    log-uniform; `gravities` of (0, 0) is a mass on a line. Every key gives new states, and each split has its
    own stream of keys.

    References:
        Williams 1992, Simple statistical gradient-following algorithms (Machine Learning 8).
        Sutton et al. 2000, Policy gradient methods (NeurIPS 12).

    Raises:
        UsageError: for an empty range, less than two tries, or a network of other sizes.
    """

    gravities: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    frictions: tuple[float, float] = struct.field(pytree_node=False, default=(0.2, 0.2))
    forces: tuple[float, float] = struct.field(pytree_node=False, default=(2.0, 2.0))
    perceptron: Perceptron = struct.field(
        pytree_node=False, default=Perceptron(2, _ACTIONS, (16, 16), activations=("tanh",))
    )
    steps: int = struct.field(pytree_node=False, default=10)
    rollouts: int = struct.field(pytree_node=False, default=64)

    def __post_init__(self) -> None:
        check_ranges(frictions=self.frictions, forces=self.forces)
        if self.gravities != (0, 0):
            check_ranges(gravities=self.gravities)
        if self.rollouts < 2:
            raise UsageError("a try is compared with the others: give at least two rollouts")
        if (self.perceptron.inputs, self.perceptron.outputs) != (2, _ACTIONS):
            raise UsageError(
                f"a policy maps a place and a speed to {_ACTIONS} actions: give Perceptron(2, 3)"
            )

    def sample(self, key: Key[Array, ""]) -> PolicyInstance:
        """Draw an environment and a policy's network."""
        keys = jax.random.split(key, 4)
        return PolicyInstance(
            gravity=log_uniform(keys[0], *self.gravities) if self.gravities[0] else jnp.zeros(()),
            friction=log_uniform(keys[1], *self.frictions),
            force=log_uniform(keys[2], *self.forces),
            perceptron=self.perceptron.sample(keys[3]),
        )

    def init(self, instance: PolicyInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        return self.perceptron.init(instance.perceptron, key)

    def batch(
        self, instance: PolicyInstance, key: Key[Array, ""], split: Split
    ) -> Float[Array, "rollouts 2"]:
        """Draw the places and speeds from which tries start."""
        key = jax.random.fold_in(key, SPLITS.index(split))
        return jax.random.uniform(key, (self.rollouts, 2), minval=-1.0)

    def loss(
        self,
        instance: PolicyInstance,
        params: Layers,
        batch: Float[Array, "rollouts 2"],
        key: Key[Array, ""],
    ) -> Float[Array, ""]:
        """Return the mean cost; its gradient estimates that of the expected cost."""
        noise = jax.random.gumbel(key, (self.steps, batch.shape[0], _ACTIONS))

        def step(states: Array, noise: Array) -> tuple[Array, tuple[Array, Array]]:
            scores = jax.nn.log_softmax(self.perceptron.apply(instance.perceptron, params, states))
            actions = jnp.argmax(jax.lax.stop_gradient(scores) + noise, axis=-1)
            chosen = jnp.take_along_axis(scores, actions[:, None], axis=-1)[:, 0]
            states = push(instance, states, actions)
            return states, (chosen, cost(states))

        scores, costs = jax.lax.scan(step, batch, noise)[1]
        ahead = jnp.flip(jnp.cumsum(jnp.flip(costs, 0), axis=0), 0)
        others = (jnp.sum(ahead, axis=1, keepdims=True) - ahead) / (batch.shape[0] - 1)
        surrogate = jnp.mean(scores * jax.lax.stop_gradient(ahead - others))
        return jax.lax.stop_gradient(jnp.mean(costs)) + surrogate - jax.lax.stop_gradient(surrogate)

    @property
    def ceiling(self) -> float:
        """Above every cost, because a cost is less than 1: only a loss that is not a number has diverged."""
        return 1.5


def push(instance: PolicyInstance, states: Float[Array, "rows 2"], actions: Array) -> Float[Array, "rows 2"]:
    """Return the states one step after the actions 0 (left), 1 (nothing) or 2 (right), int32 [rows]."""
    place, speed = states[:, 0], states[:, 1]
    pushed = instance.force * (actions.astype(jnp.float32) - 1)
    speed = speed + _STEP * (instance.gravity * jnp.sin(place) - instance.friction * speed + pushed)
    return jnp.stack([place + _STEP * speed, speed], axis=1)


def cost(states: Float[Array, "rows 2"]) -> Float[Array, " rows"]:
    """Return a number from 0 (at rest in the middle) to 1 for every state."""
    return -jnp.expm1(-(jnp.square(states[:, 0]) + jnp.square(states[:, 1]) / 4) / 2)


register("pendulum-policy")(PolicyGradient)


@register("mass-policy")
def mass_policy() -> Task:
    """A mass on a line."""
    return PolicyGradient(gravities=(0.0, 0.0))


@register("policy-family")
def policy_family() -> Task:
    """Pendulums with weak or strong gravity, friction and force, and drawn networks."""
    return PolicyGradient(
        gravities=(0.2, 2.0),
        frictions=(0.05, 0.5),
        forces=(1.5, 3.0),
        perceptron=perceptron_family(2, _ACTIONS, widths=(8, 16), depths=(1, 1)),
    )

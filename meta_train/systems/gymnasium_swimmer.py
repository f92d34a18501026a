"""MuJoCo's Swimmer from gymnasium, controlled by a linear policy."""

from __future__ import annotations

import functools
import importlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics


class GymnasiumUnavailableError(UsageError, RuntimeError):
    """MuJoCo's environments can't be run on this machine."""


class Body(NamedTuple):
    """MuJoCo's complete state of the swimmer."""

    positions: Float[Array, "5"]
    """x and y in metres, then the angles of the front link and the two joints in radians."""
    velocities: Float[Array, "5"]
    """Their rates, per second."""


class GymnasiumSwimmer(Dynamics):
    """Swim along the x axis in MuJoCo: theta is the 2 x 8 matrix of a linear policy, zeros at first.

    Gymnasium's Swimmer-v5: 0.04 seconds a step; the observation is all of the state but x and y; actions are
    clipped to [-1, 1]; the loss of a step is minus its reward, which is the velocity along x minus 1e-4 times
    the action's squared norm. Horizons of 1000 steps are usual. An episode's initial state is drawn from its
    key, uniform within 0.1, so the members of a pair start from the same state.

    The physics runs on the host, outside XLA, one swimmer after the other: it is no faster on an accelerator,
    and has no derivative.

    Attributes:
        spread: the initial positions and velocities are uniform within this range.

    References: Coulom 2002; Towers et al. 2024, Gymnasium (arXiv 2407.17032).
    """

    spread: float = struct.field(pytree_node=False, default=0.1)

    def init(self, theta: Float[Array, "2 8"], horizon: Int[Array, ""], key: Key[Array, ""]) -> Body:
        """Return a state almost straight along the x axis, almost at rest.

        Raises:
            GymnasiumUnavailableError: if gymnasium or MuJoCo is not installed.
        """
        _environment()
        draws = jax.random.uniform(key, (2, 5), jnp.float32, -self.spread, self.spread)
        return Body(draws[0], draws[1])

    def step(
        self, theta: Float[Array, "2 8"], state: Body, key: Key[Array, ""]
    ) -> tuple[Body, Float[Array, ""]]:
        """Let MuJoCo simulate four of its own steps with the policy's action."""
        observation = jnp.concatenate([state.positions[2:], state.velocities])
        action = jnp.clip(theta @ observation, -1.0, 1.0)
        five, scalar = jax.ShapeDtypeStruct((5,), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
        arguments = (state.positions, state.velocities, action)
        # One call to the host for a whole population: separate calls would cost more than the physics.
        result = jax.pure_callback(_simulate, (five, five, scalar), *arguments, vmap_method="broadcast_all")
        positions, velocities, reward = result
        return Body(positions, velocities), -reward


@functools.cache
def _environment() -> Any:
    """Create the environment, once per process; its state is set before each step."""
    try:
        importlib.import_module("mujoco")
        gymnasium: Any = importlib.import_module("gymnasium")
    except ImportError as error:
        raise GymnasiumUnavailableError(
            "MuJoCo's swimmer needs gymnasium and mujoco: pip install 'gymnasium[mujoco]'; "
            "systems.Swimmer is one in JAX that needs neither"
        ) from error
    return gymnasium.make("Swimmer-v5").unwrapped


def _simulate(positions: Any, velocities: Any, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step every swimmer of a batch; the leading axes are the batch."""
    environment = _environment()
    batch = np.shape(positions)[:-1]
    inputs = [
        np.asarray(x, np.float64).reshape(-1, np.shape(x)[-1]) for x in (positions, velocities, actions)
    ]
    states, rewards = [], []
    for position, velocity, action in zip(*inputs, strict=True):
        environment.set_state(position, velocity)
        _, reward, *_ = environment.step(action)
        states.append((environment.data.qpos.copy(), environment.data.qvel.copy()))
        rewards.append(reward)
    moved, rates = (np.array(x, np.float32).reshape(*batch, -1) for x in zip(*states, strict=True))
    return moved, rates, np.array(rewards, np.float32).reshape(batch)

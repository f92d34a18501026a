"""A pole on a cart, to be swung up by a linear policy."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics


class Swinging(NamedTuple):
    """A cart and its pole between two steps."""

    position: Float[Array, ""]
    """Position of the cart, in metres."""
    angle: Float[Array, ""]
    """Angle of the pole, in radians; 0 is upright."""
    speed: Float[Array, ""]
    """Metres per second."""
    spin: Float[Array, ""]
    """Radians per second."""


class CartPole(Dynamics):
    """Swing a pole up and balance it: theta is a linear policy's weights for six features.

    The features are the sine and the cosine of the angle, the spin, the cart's position and speed, and one;
    the force is `strength` times their product with theta, clipped to [-1, 1]; theta usually starts at zero.
    A step is a fourth-order Runge-Kutta step. Its loss is (1 - cos angle) / 2, which is 0 upright and 1
    hanging, plus a tenth of x^2 / (4 + x^2), which keeps the cart near the origin. Episodes begin with the
    pole hanging, almost at rest.

    Attributes:
        seconds: length of a step.
        strength: largest force, in newtons.
        cart: mass in kilograms.
        pole: mass in kilograms, all of it at the tip.
        length: length of the pole, in metres.
        friction: force on the cart per metre per second.
        spread: the initial state is uniform within this range around hanging.

    References: Barto, Sutton, Anderson 1983 (the system); Deisenroth, Rasmussen 2011 (swing-up).
    """

    seconds: float = struct.field(pytree_node=False, default=0.02)
    strength: float = struct.field(pytree_node=False, default=10.0)
    cart: float = struct.field(pytree_node=False, default=0.5)
    pole: float = struct.field(pytree_node=False, default=0.5)
    length: float = struct.field(pytree_node=False, default=0.6)
    friction: float = struct.field(pytree_node=False, default=0.1)
    spread: float = struct.field(pytree_node=False, default=0.1)

    def init(self, theta: Float[Array, "6"], horizon: Int[Array, ""], key: Key[Array, ""]) -> Swinging:
        """Return a state with the pole hanging, almost at rest."""
        draws = jax.random.uniform(key, (4,), theta.dtype, -self.spread, self.spread)
        return Swinging(draws[0], jnp.pi + draws[1], draws[2], draws[3])

    def step(
        self, theta: Float[Array, "6"], state: Swinging, key: Key[Array, ""]
    ) -> tuple[Swinging, Float[Array, ""]]:
        """Push the cart by the policy's force."""
        moved = self.push(state, self.strength * jnp.clip(theta @ features(state), -1.0, 1.0))
        away = moved.position**2 / (4 + moved.position**2)
        return moved, (1 - jnp.cos(moved.angle)) / 2 + 0.1 * away

    def push(self, state: Swinging, force: Float[Array, ""]) -> Swinging:
        """Apply a force to the cart for one step."""
        add = lambda scale, rates: jax.tree.map(lambda x, r: x + scale * r, state, rates)  # noqa: E731
        first = self._rates(state, force)
        second = self._rates(add(self.seconds / 2, first), force)
        third = self._rates(add(self.seconds / 2, second), force)
        fourth = self._rates(add(self.seconds, third), force)
        mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, first, second, third, fourth)
        return add(self.seconds, mean)

    def energy(self, state: Swinging) -> Float[Array, ""]:
        """Return kinetic plus potential energy, in joules."""
        across = state.speed + self.length * state.spin * jnp.cos(state.angle)
        upward = -self.length * state.spin * jnp.sin(state.angle)
        kinetic = self.cart * state.speed**2 / 2 + self.pole * (across**2 + upward**2) / 2
        return kinetic + self.pole * _GRAVITY * self.length * jnp.cos(state.angle)

    def _rates(self, state: Swinging, force: Float[Array, ""]) -> Swinging:
        """Return the state's time derivative."""
        cos, sin = jnp.cos(state.angle), jnp.sin(state.angle)
        free = force - self.friction * state.speed
        swing = self.pole * sin * (self.length * state.spin**2 - _GRAVITY * cos)
        acceleration = (free + swing) / (self.cart + self.pole * sin**2)
        twist = (_GRAVITY * sin - acceleration * cos) / self.length
        return Swinging(state.speed, state.spin, acceleration, twist)


_GRAVITY = 9.81


def features(state: Swinging) -> Float[Array, "6"]:
    """Return the policy's features."""
    one = jnp.ones_like(state.angle)
    sincos = (jnp.sin(state.angle), jnp.cos(state.angle))
    return jnp.stack([*sincos, state.spin, state.position, state.speed, one])

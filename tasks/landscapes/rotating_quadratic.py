"""Quadratics whose axes turn at every step: noise in the gradient that vanishes at the optimum."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Task
from ..data.prepared import Split
from ..errors import UsageError
from ..layers import check_ranges, log_uniform
from ..registry import register


class RotatingInstance(NamedTuple):
    """One problem."""

    spectrum: Float[Array, " dimension"]
    """Eigenvalues of the Hessian."""
    optimum: Float[Array, " dimension"]
    swing: Float[Array, ""]
    """Standard deviation of the angle of a turn, in radians."""


class Turn(NamedTuple):
    """What is drawn for a step."""

    directions: Float[Array, "2 dimension"]
    """Two orthonormal vectors, which span the plane of the turn."""
    angle: Float[Array, ""]
    """Standard normal; multiplied by the instance's `swing`."""


class RotatingQuadratic(Task):
    """Minimise sum(spectrum * (R (x - x*))^2) / 2, where R turns a random plane anew for every batch.

    Every batch has the same eigenvalues and the same optimum, at which its gradient is zero; its axes differ.
    The eigenvalues are log-uniform between 1 / condition and 1, with a `condition` that is log-uniform over
    `conditions`; the swing is log-uniform over `swings`. The optimum is standard normal and parameters start
    at zero.

    Raises:
        UsageError: for an empty range, or less than two dimensions.
    """

    dimension: int = struct.field(pytree_node=False, default=10)
    conditions: tuple[float, float] = struct.field(pytree_node=False, default=(100.0, 100.0))
    swings: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))

    def __post_init__(self) -> None:
        check_ranges(conditions=self.conditions, swings=self.swings)
        if self.dimension < 2:
            raise UsageError(f"dimension={self.dimension} has no plane to turn: give at least 2")

    def sample(self, key: Key[Array, ""]) -> RotatingInstance:
        """Draw the spectrum, the optimum and the swing."""
        keys = jax.random.split(key, 4)
        condition = log_uniform(keys[0], *self.conditions)
        return RotatingInstance(
            spectrum=condition ** -jax.random.uniform(keys[1], (self.dimension,)),
            optimum=jax.random.normal(keys[2], (self.dimension,)),
            swing=log_uniform(keys[3], *self.swings),
        )

    def init(self, instance: RotatingInstance, key: Key[Array, ""]) -> dict[str, Array]:
        """Start at zero."""
        return {"x": jnp.zeros(self.dimension)}

    def batch(self, instance: RotatingInstance, key: Key[Array, ""], split: Split) -> Turn:
        """Draw a plane and an angle; their distribution is the same for every split."""
        draws = jax.random.normal(key, (2, self.dimension + 1))
        first = draws[0, 1:] / jnp.linalg.norm(draws[0, 1:])
        second = draws[1, 1:] - first * (first @ draws[1, 1:])
        return Turn(jnp.stack([first, second / jnp.linalg.norm(second)]), draws[0, 0])

    def loss(
        self, instance: RotatingInstance, params: dict[str, Array], batch: Turn, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the loss of one batch's axes."""
        away = params["x"] - instance.optimum
        in_plane = batch.directions @ away
        angle = instance.swing * batch.angle
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        turned = jnp.stack([cos * in_plane[0] - sin * in_plane[1], sin * in_plane[0] + cos * in_plane[1]])
        away = away + (turned - in_plane) @ batch.directions
        return jnp.sum(instance.spectrum * jnp.square(away)) / 2

    @property
    def ceiling(self) -> float:
        """Ten times a generous estimate of the initial loss."""
        return 10.0 * self.dimension


register("rotating-quadratic")(RotatingQuadratic)


@register("rotating-quadratic-family")
def rotating_quadratic_family() -> Task:
    """Eigenvalues that differ tenfold to ten-thousandfold, turns from three to ninety degrees."""
    return RotatingQuadratic(20, conditions=(10.0, 1e4), swings=(0.05, math.pi / 2))

"""Random quadratics: the smallest task, with a known optimum."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Task
from ..data.prepared import Split
from ..registry import register


class QuadraticInstance(NamedTuple):
    """One quadratic."""

    matrix: Float[Array, "dimension dimension"]
    """A of the loss |A (x - optimum - shift)|^2 / 2."""
    optimum: Float[Array, " dimension"]


class Quadratic(Task):
    """Random quadratics |A (x - x* - shift)|^2 / 2, with a random rotation and spectrum.

    The singular values of A are log-uniform between 1/sqrt(condition) and 1; the optimum is standard normal
    and parameters start at zero. A batch is a random shift of the optimum, that is, gradient noise. Without
    `rotated`, A is diagonal.
    """

    dimension: int = struct.field(pytree_node=False, default=10)
    condition: float = struct.field(pytree_node=False, default=100.0)
    noise: float = struct.field(pytree_node=False, default=0.0)
    rotated: bool = struct.field(pytree_node=False, default=True)

    def sample(self, key: Key[Array, ""]) -> QuadraticInstance:
        """Draw rotation, spectrum and optimum."""
        rotation_key, spectrum_key, optimum_key = jax.random.split(key, 3)
        if self.rotated:
            rotation = jax.random.orthogonal(rotation_key, self.dimension)
        else:
            rotation = jnp.eye(self.dimension)
        exponents = jax.random.uniform(spectrum_key, (self.dimension,))
        spectrum = self.condition ** (-exponents / 2)
        optimum = jax.random.normal(optimum_key, (self.dimension,))
        return QuadraticInstance(spectrum[:, None] * rotation, optimum)

    def init(self, instance: QuadraticInstance, key: Key[Array, ""]) -> dict[str, Array]:
        """Start at zero."""
        return {"x": jnp.zeros(self.dimension)}

    def batch(self, instance: QuadraticInstance, key: Key[Array, ""], split: Split) -> Float[Array, " d"]:
        """Draw a shift of the optimum; its distribution is the same for every split."""
        return self.noise * jax.random.normal(key, (self.dimension,))

    def loss(
        self,
        instance: QuadraticInstance,
        params: dict[str, Array],
        batch: Float[Array, " d"],
        key: Key[Array, ""],
    ) -> Float[Array, ""]:
        """Return |A (x - x* - shift)|^2 / 2."""
        residual = instance.matrix @ (params["x"] - instance.optimum - batch)
        return jnp.sum(jnp.square(residual)) / 2

    @property
    def ceiling(self) -> float:
        """Ten times a generous estimate of the initial loss."""
        return 10.0 * self.dimension


register("quadratic")(Quadratic)


@register("noisy-quadratic")
def noisy_quadratic() -> Task:
    """Quadratics whose optimum is shifted randomly at each step."""
    return Quadratic(dimension=20, noise=0.3)


@register("diagonal-quadratic")
def diagonal_quadratic() -> Task:
    """Quadratics whose axes are the parameters."""
    return Quadratic(dimension=20, condition=1e3, rotated=False)


@register("ill-conditioned-quadratic")
def ill_conditioned_quadratic() -> Task:
    """Rotated quadratics whose curvatures differ up to a millionfold."""
    return Quadratic(dimension=30, condition=1e6)

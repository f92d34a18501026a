"""Stochastic gradient descent on a noisy quadratic, in expectation: a learning-rate schedule as theta."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics


class Deviation(NamedTuple):
    """The distribution of a training run's parameters between two steps."""

    squared: Float[Array, " dimensions"]
    """Expected squared distance from the optimum in each dimension."""
    age: Int[Array, ""]
    horizon: Int[Array, ""]


class NoisyQuadratic(Dynamics):
    """Gradient descent on sum_i h_i (x_i - c_i)^2 / 2, whose optimum c is drawn anew in every step.

    The curvatures h are log-uniform between 1 / condition and 1, and c_i has mean 0 and variance noise / h_i,
    so the noise of the gradient has the covariance of the curvature. The expected squares obey

        A_i' = (1 - rate h_i)^2 A_i + (rate h_i)^2 noise / h_i,

    from ones, and the loss of a step is the expected one after it, so nothing is random. Theta is (log of the
    first rate, log of decay): the rate of step t of T is exp(theta_0) (1 + t / T)^-exp(theta_1).

    A low rate is soon better, because it averages the noise in the few steep dimensions; a high one is needed
    for long, because the many flat dimensions are far away. So a method that looks at few steps lowers the
    rate too early.

    References: Wu, Ren, Liao, Grosse 2018, Understanding short-horizon bias in stochastic meta-optimization
        (arXiv 1803.02021).
    """

    dimensions: int = struct.field(pytree_node=False, default=50)
    condition: float = struct.field(pytree_node=False, default=1e3)
    noise: float = struct.field(pytree_node=False, default=0.1)

    def init(self, theta: Float[Array, " 2"], horizon: Int[Array, ""], key: Key[Array, ""]) -> Deviation:
        """Start from ones; the key is not used."""
        ones = jnp.ones(self.dimensions, theta.dtype)
        return Deviation(ones, jnp.zeros((), jnp.int32), jnp.asarray(horizon, jnp.int32))

    def step(
        self, theta: Float[Array, " 2"], state: Deviation, key: Key[Array, ""]
    ) -> tuple[Deviation, Float[Array, ""]]:
        """Do a step of gradient descent."""
        h = jnp.asarray(self.curvatures, theta.dtype)
        moved = rate_at(theta, (state.age / state.horizon).astype(theta.dtype)) * h
        squared = (1 - moved) ** 2 * state.squared + moved**2 * self.noise / h
        return Deviation(squared, state.age + 1, state.horizon), jnp.sum(h * squared) / 2 + self.floor

    @property
    def curvatures(self) -> np.ndarray:
        """The curvatures h, float64 [dimensions]."""
        return np.geomspace(1 / self.condition, 1, self.dimensions)

    @property
    def floor(self) -> float:
        """The expected loss at the mean optimum, which no rate can go below."""
        return self.dimensions * self.noise / 2


def rate_at(theta: Float[Array, " 2"], progress: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the learning rate after a share of the steps."""
    return jnp.exp(theta[0] - jnp.exp(theta[1]) * jnp.log1p(progress))

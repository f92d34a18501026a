"""A toy problem in two dimensions, with a learning-rate schedule as theta."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics


class Descent(NamedTuple):
    """Gradient descent between two steps."""

    x: Float[Array, " 2"]
    age: Int[Array, ""]
    horizon: Int[Array, ""]


class ToyRegression(Dynamics):
    """Gradient descent in a bumpy valley, with a schedule between two learning rates.

    At step t of T the rate is exp(theta_0) (1 - t/T) + exp(theta_1) t/T. The loss of a step is that of the
    point after the step, f(x) = sqrt(x_0^2 + 5) - sqrt(5) + sin(x_1)^2 exp(-5 x_0^2) + |x_1 - 100| / 4. The
    optimum at x_1 = 100 is far away, behind bumps: small rates are best over a few steps, large ones over 100
    steps.

    References: Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835).
    """

    def init(self, theta: Float[Array, " 2"], horizon: Int[Array, ""], key: Key[Array, ""]) -> Descent:
        """Start from (1, 1); the key is not used."""
        return Descent(jnp.ones(2, theta.dtype), jnp.zeros((), jnp.int32), jnp.asarray(horizon, jnp.int32))

    def step(
        self, theta: Float[Array, " 2"], state: Descent, key: Key[Array, ""]
    ) -> tuple[Descent, Float[Array, ""]]:
        """Do one step of gradient descent."""
        progress = (state.age / state.horizon).astype(theta.dtype)
        rate = jnp.exp(theta[0]) * (1 - progress) + jnp.exp(theta[1]) * progress
        x = state.x - rate * jax.grad(self.objective)(state.x)
        return Descent(x, state.age + 1, state.horizon), self.objective(x)

    @staticmethod
    def objective(x: Float[Array, " 2"]) -> Float[Array, ""]:
        """Return the inner loss f at a point."""
        bowl = jnp.sqrt(x[0] ** 2 + 5) - jnp.sqrt(5.0)
        bumps = jnp.sin(x[1]) ** 2 * jnp.exp(-5 * x[0] ** 2)
        return bowl + bumps + 0.25 * jnp.abs(x[1] - 100)

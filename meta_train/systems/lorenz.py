"""The Lorenz system: recover its parameters through chaos."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics

LorenzState = tuple[Float[Array, " 3"], Int[Array, ""]]

DT, B = 0.005, 8 / 3
INITIAL = (1.2, 1.3, 1.6)
TRUTH = (float(np.log(10.0)), float(np.log(28.0)))
"""The theta of the target trajectory."""
GUESS = (3.116, 3.7)
"""The initial theta of the published experiment."""


class Lorenz(Dynamics):
    """Match the height of a Lorenz trajectory by choosing two of its parameters, theta = (log a, log r).

        x' = a (y - x),    y' = x (r - z) - y,    z' = x y - 8 z / 3,

    by Euler steps of 0.005. The loss of a step is the squared difference of the heights. Neighbouring
    trajectories diverge exponentially, and the derivative with respect to theta grows exponentially, too:
    exact gradients of long episodes are useless, those of a smoothed objective are not. Runs in the precision
    that it was created in.

    References: Li, Harrison, Sohl-Dickstein, Smith, Metz 2023, Noise-reuse in online evolution strategies
        (arXiv 2304.12180).
    """

    heights: Float[Array, " T"]

    @classmethod
    def create(cls, steps: int = 2000) -> Lorenz:
        """Compute the target trajectory: `steps` steps with a = 10, r = 28."""

        def record(state: Array, _: None) -> tuple[Array, Array]:
            state = _euler(jnp.asarray(TRUTH), state)
            return state, state[2]

        return cls(jax.lax.scan(record, jnp.asarray(INITIAL), None, steps)[1])

    def init(self, theta: Float[Array, " 2"], horizon: Int[Array, ""], key: Key[Array, ""]) -> LorenzState:
        """Start where the target trajectory starts; the key is not used."""
        return jnp.asarray(INITIAL, theta.dtype), jnp.zeros((), jnp.int32)

    def step(
        self, theta: Float[Array, " 2"], state: LorenzState, key: Key[Array, ""]
    ) -> tuple[LorenzState, Float[Array, ""]]:
        """Advance by one Euler step."""
        place, age = state
        place = _euler(theta, place)
        return (place, age + 1), (place[2] - self.heights[age]) ** 2


def _euler(theta: Float[Array, " 2"], place: Float[Array, " 3"]) -> Float[Array, " 3"]:
    a, r = jnp.exp(theta)
    x, y, z = place
    return place + DT * jnp.stack([a * (y - x), x * (r - z) - y, x * y - B * z])

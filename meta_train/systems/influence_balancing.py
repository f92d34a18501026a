"""Influence balancing: short-term influence has the wrong sign, and exact solutions are known."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics

STATES, POSITIVE = 23, 10
OPTIMUM = -1 / 6
"""The theta with the smallest long-term loss, which is 0."""

_MIXING = 0.5 * (np.eye(STATES) + np.eye(STATES, k=1))
_DRIVE = np.where(np.arange(STATES) < POSITIVE, 1.0, -1.0)

BalancingState = tuple[Float[Array, " 23"], Int[Array, ""]]


class InfluenceBalancing(Dynamics):
    """s' = A s + theta v with loss (s_1 - 1)^2 / 2, where v is +1 ten times and -1 thirteen times.

    A moves influence from each unit to the one before it. The first unit is soon affected by the near units,
    which push it up with theta, and later by the far ones, which push it down and outweigh the others: a
    method that looks back over fewer than 41 steps has a gradient of the wrong sign. Theta is a scalar; the
    episode starts from ones.

    Attributes:
        every: steps per block; the loss is reported at the step that completes a block, and is 0 elsewhere.
            With `every` = window, it is the loss at the window's end.
        summed: report the loss at every step instead.

    References: Tallec and Ollivier 2017, Unbiased online recurrent optimization (arXiv 1702.05043); Vicol,
        Metz, Sohl-Dickstein 2021 (arXiv 2112.13835).
    """

    every: int = struct.field(pytree_node=False, default=1)
    summed: bool = struct.field(pytree_node=False, default=False)

    def init(self, theta: Float[Array, ""], horizon: Int[Array, ""], key: Key[Array, ""]) -> BalancingState:
        """Start from ones; the key is not used."""
        return jnp.ones(STATES, theta.dtype), jnp.zeros((), jnp.int32)

    def step(
        self, theta: Float[Array, ""], state: BalancingState, key: Key[Array, ""]
    ) -> tuple[BalancingState, Float[Array, ""]]:
        """Advance by one step."""
        s, age = state
        # The product with A, without forming the matrix.
        s = 0.5 * (s + jnp.append(s[1:], jnp.zeros(1, s.dtype))) + theta * jnp.asarray(_DRIVE, s.dtype)
        loss = (s[0] - 1) ** 2 / 2
        if not self.summed:
            loss = jnp.where((age + 1) % self.every == 0, loss, 0)
        return (s, age + 1), loss


def long_term_loss(theta: Float[Array, ""]) -> Float[Array, ""]:
    """Return the loss at the fixed point for constant theta: s_1 = -6 theta, so (6 theta + 1)^2 / 2."""
    return (6 * theta + 1) ** 2 / 2


def influence(steps: int) -> np.ndarray:
    """Return D_k for k = 1 .. steps: the derivative of s_1 with respect to theta in the last k steps."""
    powers, term = np.empty(steps), _DRIVE
    for k in range(steps):
        powers[k] = term[0]
        term = _MIXING @ term
    return np.cumsum(powers)


def spectral_radius(learning_rate: float, window: int | None = None) -> float:
    """Return the spectral radius of one update of (s, theta) by gradient descent, near the fixed point.

    Above 1, training diverges; below, the loss shrinks by its square per update.

    Args:
        learning_rate: learning rate of the descent on the loss at a window's end.
        window: truncation length of backpropagation; None for RTRL, which updates at every step with the full
            derivative, -6.
    """
    steps = 1 if window is None else window
    slope = -6.0 if window is None else influence(window)[-1]
    decay, pushed = np.eye(STATES), np.zeros(STATES)
    for _ in range(steps):
        decay, pushed = _MIXING @ decay, _MIXING @ pushed + _DRIVE
    joint = np.block(
        [
            [decay, pushed[:, None]],
            [-learning_rate * slope * decay[:1], 1 - learning_rate * slope * pushed[:1, None]],
        ]
    )
    return float(np.max(np.abs(np.linalg.eigvals(joint))))

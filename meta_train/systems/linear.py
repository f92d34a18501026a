"""A linear system with quadratic losses, whose gradient is known in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics

LinearState = tuple[Float[Array, " S"], Int[Array, ""]]


class Linear(Dynamics):
    """s' = A s + B_t theta + c_t, with loss |s' - target|^2 / 2.

    Theta is a vector. The losses are quadratic in it, so every unbiased estimator, smoothing or not, has
    `gradients` as its expectation. An episode must not be longer than the number of B_t.
    """

    a: Float[Array, "S S"]
    b: Float[Array, "T S P"]
    c: Float[Array, "T S"]
    target: Float[Array, " S"]
    start: Float[Array, " S"]

    @classmethod
    def create(
        cls, key: Key[Array, ""], steps: int, states: int = 3, parameters: int = 4, memory: float = 0.9
    ) -> Linear:
        """Draw a system.

        Args:
            key: a typed PRNG key.
            steps: the longest episode, in steps.
            states: size S of the state.
            parameters: size P of theta.
            memory: modulus of all eigenvalues of A, which is a rotation scaled by it.
        """
        a_key, b_key, c_key, target_key, start_key = jax.random.split(key, 5)
        rotation, _ = jnp.linalg.qr(jax.random.normal(a_key, (states, states)))
        return cls(
            a=memory * rotation,
            b=jax.random.normal(b_key, (steps, states, parameters)) / jnp.sqrt(parameters),
            c=jax.random.normal(c_key, (steps, states)),
            target=jax.random.normal(target_key, (states,)),
            start=jax.random.normal(start_key, (states,)),
        )

    def init(self, theta: Float[Array, " P"], horizon: Int[Array, ""], key: Key[Array, ""]) -> LinearState:
        """Start from `start`; the key is not used."""
        return self.start, jnp.zeros((), jnp.int32)

    def step(
        self, theta: Float[Array, " P"], state: LinearState, key: Key[Array, ""]
    ) -> tuple[LinearState, Float[Array, ""]]:
        """Advance by one step."""
        s, age = state
        s = self.a @ s + self.b[age] @ theta + self.c[age]
        return (s, age + 1), jnp.sum((s - self.target) ** 2) / 2

    def gradients(self, theta: Float[Array, " P"], window: int, steps: int | None = None) -> Array:
        """Return the exact gradient of each window's sum of losses, in closed form, without autodiff.

        The derivative of the state obeys D' = A D + B_t, and a step's gradient is D'^T (s' - target).

        Args:
            theta: the meta-parameters.
            window: steps per window.
            steps: length of the episode, a multiple of `window`; None for the longest one.

        Returns:
            An array [windows, P], whose sum is the gradient of the whole episode.
        """
        steps = len(self.b) if steps is None else steps

        def step(carry: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
            s, derivative = carry
            b, c = now
            s, derivative = self.a @ s + b @ theta + c, self.a @ derivative + b
            return (s, derivative), derivative.T @ (s - self.target)

        carry = (self.start, jnp.zeros_like(self.b[0]))
        _, by_step = jax.lax.scan(step, carry, (self.b[:steps], self.c[:steps]))
        return jnp.sum(by_step.reshape(-1, window, by_step.shape[-1]), axis=1)

"""Real-time recurrent learning: the full derivative is carried along with the state."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from .base import Estimate, Estimator
from .forward import TangentState, blank_tangents, push
from .registry import register


@register("rtrl")
@dataclasses.dataclass(frozen=True)
class RTRL(Estimator):
    """Carry the derivative of the state with respect to theta, and compute the exact gradient from it.

    Exact and online: each window's estimate is its whole gradient, and the derivative is the only memory of
    earlier windows. Needs a differentiable graph, and does not smooth.

    Variance: only that of the data. Memory: S P for a state of S numbers and P meta-parameters. Cost: about K
    F (1 + 2 P) for a window of K. Suitable for small states and thetas.

    Attributes:
        max_megabytes: largest allowed size of the derivative per particle.

    References: Williams and Zipser 1989, A learning algorithm for continually running fully recurrent neural
        networks.
    """

    needs_derivatives: ClassVar[bool] = True

    max_megabytes: float = 32.0

    @property
    def steps_per_window(self) -> int:
        """The steps of one episode; derivatives are not counted."""
        return self.unrolled

    def init(self, dynamics: Dynamics, theta: Theta) -> TangentState:
        """Return a particle of zeros with a finished episode of no steps.

        Raises:
            UsageError: if the derivative is larger than `max_megabytes`.
        """
        size = ravel_pytree(theta)[0].size
        state = jax.eval_shape(lambda t: blank_tangents(dynamics, t, size), theta)
        megabytes = sum(x.size * x.dtype.itemsize for x in state.tangents) / 1e6
        if megabytes > self.max_megabytes:
            numbers = sum(x.size for x in state.tangents) // size
            raise UsageError(
                f"rtrl carries the derivative of {numbers:,} numbers of state by {size:,} meta-parameters: "
                f"{megabytes:,.0f} MB a particle, and {size:,} forward derivatives a step; max_megabytes is "
                f"{self.max_megabytes:g}. Take dodge, its form along random directions, or pes"
            )
        return blank_tangents(dynamics, theta, size)

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: TangentState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[TangentState, Estimate]:
        """Run one step along every coordinate of theta."""
        flat, unravel = ravel_pytree(theta)
        basis = jax.vmap(unravel)(jnp.eye(flat.size, dtype=flat.dtype))
        pushed = push(self, dynamics, theta, state, basis, key, meta_step)
        gradient = unravel(pushed.slopes.astype(flat.dtype))
        return pushed.state, self.report(gradient, pushed.state.episode, pushed.window, meta_step)

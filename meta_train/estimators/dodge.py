"""Forward gradients along random directions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from .base import Estimate, Estimator
from .forward import TangentState, blank_tangents, push
from .perturbation import select
from .registry import register


class DodgeState(struct.PyTreeNode):
    """A particle with random directions."""

    moving: TangentState
    """The episode and its derivatives along the directions."""
    directions: Theta
    """Current directions, as the first axis of each leaf; change when they are redrawn."""
    total: Theta
    """Sum of the episode's directions; changes with them."""

    @property
    def episodes(self) -> Int[Array, ""]:
        """Episodes started."""
        return self.moving.episodes

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the current episode."""
        return self.moving.age


@register("dodge")
@dataclasses.dataclass(frozen=True)
class DODGE(Estimator):
    """Differentiate forwards along random directions u, and return (derivative along u) u.

    The directions are drawn at an episode's start, or every `redraw_windows` windows; in the latter case the
    derivative is along all of the episode's draws, and is multiplied by their sum. Unbiased, because E u u^T
    = 1: the limit of NRES for small sigma (or of GPES and PES, if redrawn). Needs a differentiable graph, and
    does not smooth: under chaos it fails like BPTT.

    Variance: (P + 1) |grad|^2 / directions per episode. Memory: a state per direction and one more, two
    thetas per direction. Cost: about K F (1 + 2 directions) for a window of K.

    Attributes:
        directions: the number of directions.
        redraw_windows: windows between draws; None keeps the directions for the episode.

    Raises:
        UsageError: for numbers that are not positive, and as in `Estimator`.

    References: Silver, Goyal, Danihelka, Hessel, van Hasselt 2022, Learning by directional gradient descent
        (DODGE, ICLR 2022); Baydin et al. 2022, Gradients without backpropagation (arXiv 2202.08587).
    """

    needs_derivatives: ClassVar[bool] = True

    directions: int = 1
    redraw_windows: int | None = None

    def __post_init__(self) -> None:
        Estimator.__post_init__(self)
        if self.directions < 1:
            raise UsageError(f"directions must be at least 1, not {self.directions}")
        if self.redraw_windows is not None and self.redraw_windows < 1:
            raise UsageError(f"redraw_windows must be at least 1 window, not {self.redraw_windows}")

    @property
    def steps_per_window(self) -> int:
        """The steps of one episode; derivatives are not counted."""
        return self.unrolled

    def init(self, dynamics: Dynamics, theta: Theta) -> DodgeState:
        """Return a particle of zeros with a finished episode of no steps."""
        nothing = jax.tree.map(lambda t: jnp.zeros((self.directions, *t.shape), t.dtype), theta)
        return DodgeState(blank_tangents(dynamics, theta, self.directions), nothing, nothing)

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: DodgeState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[DodgeState, Estimate]:
        """Draw directions, and run one step along them."""
        direction_key, key = jax.random.split(key)
        flat, unravel = ravel_pytree(theta)
        normal = jax.random.normal(direction_key, (self.directions, flat.size), flat.dtype)
        return self.step_along(dynamics, theta, state, jax.vmap(unravel)(normal), key, meta_step)

    def step_along(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: DodgeState,
        fresh: Theta,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[DodgeState, Estimate]:
        """Run one step along given directions, which are used if this window redraws them."""
        new = state.moving.over
        redraw = new
        if self.redraw_windows is not None:
            redraw = new | ((state.age // self.window) % self.redraw_windows == 0)
        directions = select(redraw, fresh, state.directions)
        total = jax.tree.map(
            lambda t, u: jnp.where(new, u, jnp.where(redraw, t + u, t)), state.total, directions
        )
        pushed = push(self, dynamics, theta, state.moving, directions, key, meta_step)
        gradient = jax.tree.map(
            lambda u: (jnp.tensordot(pushed.slopes, u, axes=1) / self.directions).astype(u.dtype), total
        )
        estimate = self.report(gradient, pushed.state.episode, pushed.window, meta_step)
        return DodgeState(pushed.state, directions, total), estimate

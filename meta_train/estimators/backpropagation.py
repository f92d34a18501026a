"""The core of the estimators that differentiate backwards: what a step unrolls, and nothing before."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int, Key

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, Window, blank, finished, renew
from .base import Estimate, Estimator


class SoloState(struct.PyTreeNode):
    """A particle of a single episode."""

    episode: Episode
    """Changes every step."""
    episodes: Int[Array, ""]
    """Episodes started."""

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the present episode."""
        return self.episode.age


@dataclasses.dataclass(frozen=True)
class Backpropagation(Estimator):
    """Differentiate what a step unrolls by theta, with the state at its start held fixed.

    Attributes:
        rematerialise: keep the states alone on the way forward, and compute everything else again on the way
            back: less memory, about one more forward pass of time.
    """

    needs_derivatives: ClassVar[bool] = True

    rematerialise: bool = False

    def init(self, dynamics: Dynamics, theta: Theta) -> SoloState:
        """Return a particle of zeros whose episode of no steps is over."""
        return SoloState(blank(dynamics, theta), jnp.zeros((), jnp.int32))

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: SoloState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[SoloState, Estimate]:
        """Run one step, and differentiate its part of the objective."""
        drawn = self.draw_step(key, state.episodes == 0, meta_step)

        def objective(theta: Theta) -> tuple[Array, tuple[Episode, Window]]:
            episode = renew(dynamics, theta, state.episode, drawn.length, drawn.start_key)
            ended, window = self.unroll(dynamics, theta, episode, drawn.advance_key, self.rematerialise)
            return window.objective, (ended, window)

        gradient, (ended, window) = jax.grad(objective, has_aux=True)(theta)
        next_state = SoloState(ended, state.episodes + finished(state.episode))
        return next_state, self.report(gradient, ended, window, meta_step)

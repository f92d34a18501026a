"""The core of the backpropagating estimators: they differentiate what one step unrolls."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int, Key

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, Window, blank, finished, renew
from .base import Estimate, Estimator


class SoloState(struct.PyTreeNode):
    """A particle with a single episode."""

    episode: Episode
    """Changes every step."""
    episodes: Int[Array, ""]
    """Episodes started."""

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the current episode."""
        return self.episode.age

    @classmethod
    def of(cls, episode: Episode) -> Self:
        """Return a particle that has started no episode yet; its own is a finished one of no steps."""
        return cls(episode, jnp.zeros((), jnp.int32))

    def after(self, ended: Episode) -> Self:
        """Return the particle after a step: in this episode, a new one if the last was finished."""
        return self.replace(episode=ended, episodes=self.episodes + finished(self.episode).astype(jnp.int32))


@dataclasses.dataclass(frozen=True)
class Backpropagation(Estimator):
    """Differentiate what one step unrolls with respect to theta, with the state at its start held fixed.

    Attributes:
        rematerialise: store only the states in the forward pass, and recompute everything else in the
            backward pass: less memory, for about the time of one more forward pass.
    """

    needs_derivatives: ClassVar[bool] = True

    rematerialise: bool = False

    def init(self, dynamics: Dynamics, theta: Theta) -> SoloState:
        """Return a particle of zeros with a finished episode of no steps."""
        return SoloState.of(blank(dynamics, theta))

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
        return state.after(ended), self.report(gradient, ended, window, meta_step)

"""The core of the online estimators, which carry an approximation of the influence of theta on the state.

The influence J = d state / d theta obeys J' = (df/ds) J + df/dtheta, and a step's gradient is (dL/ds) J +
dL/dtheta. The members differ in what they keep of J:

    member   keeps                                                        error
    UORO     one random outer product                                     variance
    KFRTRL   one random Kronecker product, for `Recurrent` dynamics       variance
    OK       a sum of a few Kronecker products, for the same              variance
    SnAp     the entries that theta reaches within a few steps            bias
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, Length, Window, blank, finished, renew
from .base import Estimate, Estimator
from .forward import Tangents, float_leaves
from .perturbation import select
from .step_derivatives import Step

_SIGNS = 0x7369676E

Signs = Float[Array, " count"]


class InfluenceState(struct.PyTreeNode):
    """A particle whose episode carries an approximation of the influence of theta."""

    episode: Episode
    """Changes every step."""
    influence: Any
    """The approximation; changes every step."""
    credited: Theta
    """Sum of the episode's estimates so far, the derivative of its objective so far; changes every step."""
    episodes: Int[Array, ""]
    """Episodes started."""

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the current episode."""
        return self.episode.age


class Moved(NamedTuple):
    """The results of a step."""

    influence: Any
    """The approximation after the step."""
    through: Theta
    """Derivative of the step's part of the objective through the floats before it."""
    taken: Step


@dataclasses.dataclass(frozen=True)
class Online(Estimator):
    """Carry an approximation of the influence of theta, and compute each step's gradient from it."""

    needs_derivatives: ClassVar[bool] = True

    @abc.abstractmethod
    def blank_influence(self, dynamics: Dynamics, theta: Theta, episode: Episode) -> Any:
        """Return zeros.

        Raises:
            UsageError: if the dynamics are none that it can approximate.
        """

    @abc.abstractmethod
    def signs_per_step(self, dynamics: Dynamics, theta: Theta, episode: Episode) -> int:
        """Return how many random signs a step and the start of an episode take."""

    @abc.abstractmethod
    def begin(
        self,
        dynamics: Dynamics,
        theta: Theta,
        episode: Episode,
        start: Callable[[Theta], Tangents],
        signs: Signs,
    ) -> Any:
        """Return the approximation at the start of an episode.

        Args:
            dynamics: the unrolled graph.
            theta: the meta-parameters.
            episode: any episode of the graph.
            start: the floats of the initial state as a function of theta.
            signs: random signs.
        """

    @abc.abstractmethod
    def move(
        self,
        dynamics: Dynamics,
        theta: Theta,
        influence: Any,
        episode: Episode,
        key: Key[Array, ""],
        signs: Signs,
    ) -> Moved:
        """Do a step of the episode, and move the approximation along.

        Args:
            dynamics: the unrolled graph.
            theta: the meta-parameters.
            influence: the approximation before the step.
            episode: the episode before the step.
            key: the step's PRNG key, for `take_step`.
            signs: random signs.
        """

    @property
    def steps_per_window(self) -> int:
        """The steps of one episode; derivatives are not counted."""
        return self.unrolled

    def init(self, dynamics: Dynamics, theta: Theta) -> InfluenceState:
        """Return a particle of zeros with a finished episode of no steps.

        Raises:
            UsageError: if the dynamics are none that the estimator can work on.
        """
        episode, nothing = blank(dynamics, theta), jax.tree.map(jnp.zeros_like, theta)
        influence = self.blank_influence(dynamics, theta, episode)
        return InfluenceState(episode, influence, nothing, jnp.zeros((), jnp.int32))

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: InfluenceState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[InfluenceState, Estimate]:
        """Draw signs, and run one window with them."""
        count = self.signs_per_step(dynamics, theta, state.episode)
        # A separate stream: split folds in 0, 1, 2, ..., which the episode's draws use.
        sign_key = jax.random.fold_in(key, _SIGNS)
        draw = lambda key: jax.random.rademacher(key, (count,), jnp.int8)  # noqa: E731
        keys = jax.random.split(sign_key, self.window + 1)
        return self._run(dynamics, theta, state, (draw, keys), key, meta_step)

    def step_with(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: InfluenceState,
        signs: Float[Array, "window+1 count"],
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[InfluenceState, Estimate]:
        """Run one window with given signs; the mean over all signs is an exact expectation.

        Args:
            dynamics: the unrolled graph.
            theta: the meta-parameters.
            state: the particle.
            signs: first those of an episode's start, in case the window starts one, then those of each step.
            key: PRNG key of this particle and window.
            meta_step: meta-steps done so far.
        """
        return self._run(dynamics, theta, state, (lambda signs: signs, signs), key, meta_step)

    def _run(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: InfluenceState,
        signs: tuple[Callable[[Array], Signs], Array],
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[InfluenceState, Estimate]:
        """Run one window, a step at a time, and sum the steps' estimates.

        The signs are a function of each of the given values, so that they need not all be stored.
        """
        drawn = self.draw_step(key, state.episodes == 0, meta_step)
        keys = jax.random.split(drawn.advance_key, self.window)
        signs_of = lambda value: signs[0](value).astype(jnp.zeros(()).dtype)  # noqa: E731
        first, others = signs[1][0], signs[1][1:]
        episodes = state.episodes + finished(state.episode).astype(jnp.int32)
        begun = self._begun(dynamics, theta, state, drawn.length, drawn.start_key, signs_of(first))

        def body(
            carry: tuple[InfluenceState, Theta], now: tuple[Array, Array]
        ) -> tuple[tuple[InfluenceState, Theta], Window]:
            (particle, gradient), (step_key, value) = carry, now
            moved = self.move(
                dynamics, theta, particle.influence, particle.episode, step_key, signs_of(value)
            )
            taken = moved.taken
            estimate = jax.tree.map(
                lambda t, d, c: t + d + taken.memory.astype(c.dtype) * c,
                *(moved.through, taken.direct, particle.credited),
            )
            credited = jax.tree.map(jnp.add, particle.credited, estimate)
            particle = InfluenceState(taken.ahead, moved.influence, credited, particle.episodes)
            return (particle, jax.tree.map(jnp.add, gradient, estimate)), taken.window

        nothing = jax.tree.map(jnp.zeros_like, theta)
        (ended, gradient), windows = jax.lax.scan(body, (begun, nothing), (keys, others))
        window = Window(jnp.sum(windows.objective), jnp.mean(windows.loss))
        ended = ended.replace(episodes=episodes)
        return ended, self.report(gradient, ended.episode, window, meta_step)

    def _begun(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: InfluenceState,
        length: Length,
        key: Key[Array, ""],
        signs: Signs,
    ) -> InfluenceState:
        """Start an episode if the last one is over, with the influence on the initial state."""
        over = finished(state.episode)
        begin = lambda theta: renew(dynamics, theta, state.episode, length, key)  # noqa: E731
        floats = lambda theta: float_leaves(begin(theta).state)  # noqa: E731
        fresh = self.begin(dynamics, theta, state.episode, floats, signs)
        influence = select(over, fresh, state.influence)
        credited = jax.tree.map(lambda c: jnp.where(over, 0, c), state.credited)
        return InfluenceState(begin(theta), influence, credited, state.episodes)

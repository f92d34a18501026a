"""A gradient estimator: the meta-gradient from one window of one particle."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from ..horizons import Horizon
from ..objectives import MeanLoss, Objective
from ..unroll import Episode, Length, Window, advance, complete

Phase = Literal["lockstep", "staggered", "random"]


class Estimate(NamedTuple):
    """The result of one step of a particle."""

    gradient: Theta
    """Estimate of the meta-gradient, shaped like theta."""
    metrics: dict[str, Float[Array, ""]]
    """Scalars by name, as returned by `Estimator.report`."""
    silent: Bool[Array, ""] | bool = False
    """Whether there is no estimate yet: the zeros of its gradient then mean no information, not a minimum."""


class Drawn(NamedTuple):
    """The random draws of a step."""

    length: Length
    """Length of the episode that it starts, if it starts one."""
    start_key: Key[Array, ""]
    """PRNG key of that episode's start."""
    advance_key: Key[Array, ""]
    """PRNG key of the steps that it unrolls."""


@dataclasses.dataclass(frozen=True)
class Estimator(abc.ABC):
    """Estimates the gradient of the meta-objective, one window at a time.

    An estimator holds no arrays: it is its own configuration. It handles a single particle; populations are
    handled by a `vmap`, devices by a mesh (`step.py`, `mesh.py`).

    Attributes:
        horizon: distribution of episode lengths.
        window: inner steps per window (the truncation length).
        objective: the objective of an episode.
        phase: how the particles of a population are spread over an episode. "lockstep": all at the same age,
            as far as their horizons are equal. "staggered": spread over all ages, because a particle's first
            episode is cut short after a random number of windows ("step-unlocked"). Its length is drawn in
            proportion to probability x length, and it counts as a part of the whole episode, so all ages are
            as frequent as in the long run; but initially, early windows count too often. "random": staggered,
            but estimates are silent for as many meta-steps as the longest episode has windows, so that no cut
            episode counts; these windows are part of the budget. An estimator that runs whole episodes
            ignores the phase.

    Raises:
        UsageError: for a window that is not positive, a horizon that is not a multiple of it, or an unknown
            phase.
    """

    horizon: Horizon
    window: int
    objective: Objective = MeanLoss()
    phase: Phase = "staggered"

    whole_episodes: ClassVar[bool] = False
    """Whether a step runs a whole episode instead of one window."""
    needs_derivatives: ClassVar[bool] = False
    """Whether it needs derivatives of the losses: an accuracy, or a rounded number, has none."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise UsageError(f"window must be at least 1 inner step, not {self.window}")
        if self.phase not in ("lockstep", "staggered", "random"):
            raise UsageError(f"phase must be lockstep, staggered or random, not {self.phase!r}")
        self.horizon.check(self.window)

    @abc.abstractmethod
    def init(self, dynamics: Dynamics, theta: Theta) -> Any:
        """Return the state of a particle that has no episode yet; the first `step` starts one.

        Returns:
            A tree of zeros, with the attributes `episodes` (number of episodes started, int32) and `age`
            (steps done in the current one, int32).
        """

    @abc.abstractmethod
    def step(
        self, dynamics: Dynamics, theta: Theta, state: Any, key: Key[Array, ""], meta_step: Int[Array, ""]
    ) -> tuple[Any, Estimate]:
        """Advance the particle by one window, starting a new episode first if the last one is over.

        Args:
            dynamics: the unrolled graph.
            theta: the current meta-parameters.
            state: the state returned by `init` or the last `step`.
            key: a fresh PRNG key for this particle and window.
            meta_step: meta-steps done so far.

        Returns:
            The next state, and the estimate from this window.
        """

    @property
    @abc.abstractmethod
    def steps_per_window(self) -> int:
        """Inner steps that one `step` runs, counting all antithetic members."""

    @property
    def unrolled(self) -> int:
        """Inner steps that one `step` unrolls: a window, or the longest episode."""
        return self.horizon.bounds()[1] if self.whole_episodes else self.window

    @property
    def silence(self) -> int:
        """Number of meta-steps at a run's start with silent estimates, during which theta is not updated."""
        if self.phase != "random" or self.whole_episodes:
            return 0
        return self.horizon.bounds()[1] // self.window

    def draw_step(self, key: Key[Array, ""], first: Bool[Array, ""], meta_step: Int[Array, ""]) -> Drawn:
        """Draw what a step needs: the length of an episode, in case it starts one, and two keys.

        Args:
            key: the PRNG key of this particle and step.
            first: whether the particle has had no episode yet.
            meta_step: meta-steps done so far.
        """
        begin_key, advance_key = jax.random.split(key)
        length_key, start_key = jax.random.split(begin_key)
        return Drawn(self.draw_length(length_key, first, meta_step), start_key, advance_key)

    def draw_length(self, key: Key[Array, ""], first: Bool[Array, ""], meta_step: Int[Array, ""]) -> Length:
        """Draw the length of an episode; a particle's first one may be cut short (`phase`).

        The particles are then in the stationary state of renewal theory from the first windows on: in an
        episode of length L with a probability proportional to L times its probability, with a uniform number
        of windows left.
        """
        length_key, cut_key = jax.random.split(key)
        if self.phase == "lockstep" or self.whole_episodes:
            steps = self.horizon.sample(length_key, self.window, meta_step)
            return Length(steps, steps)
        steps = self.horizon.sample_in_progress(length_key, self.window, meta_step, first)
        windows = jax.random.randint(cut_key, (), 1, steps // self.window + 1)
        return Length(steps, jnp.where(first, windows.astype(steps.dtype) * self.window, steps))

    def unroll(
        self,
        dynamics: Dynamics,
        theta: Theta,
        episode: Episode,
        key: Key[Array, ""],
        rematerialise: bool = False,
    ) -> tuple[Episode, Window]:
        """Advance an episode by the number of steps that one `step` unrolls."""
        shared = (dynamics, self.objective, theta, episode, self.window)
        if self.whole_episodes:
            return complete(*shared, self.unrolled, key, rematerialise)
        return advance(*shared, key, rematerialise)

    def report(
        self, gradient: Theta, episodes: Episode, window: Window, meta_step: Int[Array, ""]
    ) -> Estimate:
        """Return the estimate of a step: the gradient, or zeros while silent, and the common metrics.

        Args:
            gradient: shaped like theta.
            episodes: the episode after the step, or several stacked ones.
            window: the results of the step, stacked like the episodes.
            meta_step: meta-steps done so far.
        """
        silent = meta_step < self.silence
        if self.silence:
            gradient = jax.tree.map(lambda g: jnp.where(silent, 0, g), gradient)
        # An episode that was cut short has no objective.
        over = episodes.age >= episodes.horizon
        metrics = {
            "loss": jnp.mean(window.loss),
            "objective": jnp.mean(jnp.where(over, episodes.objective, 0.0), dtype=jnp.float32),
            "finished": jnp.mean(over.astype(jnp.float32)),
            "diverged": jnp.mean(episodes.diverged),
            "age": jnp.mean(episodes.age.astype(jnp.float32)),
        }
        return Estimate(gradient, metrics, jnp.asarray(silent))

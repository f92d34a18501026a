"""A gradient estimator: the meta-gradient from one window of one particle."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ..dynamics import Dynamics, Theta
from ..horizons import Horizon
from ..objectives import MeanLoss, Objective
from ..unroll import Episode, Window, finished


class Estimate(NamedTuple):
    """What a particle says after one window."""

    gradient: Theta
    """Estimate of the meta-gradient, shaped like theta."""
    metrics: dict[str, Float[Array, ""]]
    """Scalars by name, those of `window_metrics` among them."""


@dataclasses.dataclass(frozen=True)
class Estimator(abc.ABC):
    """Estimates the gradient of the meta-objective, one window at a time.

    An estimator holds no arrays: it is its own configuration. It handles a single particle; populations are
    a `vmap`, devices a mesh (`step.py`, `mesh.py`).

    Attributes:
        horizon: law of episode lengths.
        window: inner steps per window (the truncation length).
        objective: what an episode is judged by.
        staggered: whether a particle's first episode is cut to a random number of windows, so that the
            population is spread over all ages ("step-unlocked").

    Raises:
        ValueError: for a window that is not positive, or a horizon that is no multiple of it.
    """

    horizon: Horizon
    window: int
    objective: Objective = MeanLoss()
    staggered: bool = True

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1 inner step, not {self.window}")
        self.horizon.check(self.window)

    @abc.abstractmethod
    def init(self, dynamics: Dynamics, theta: Theta) -> Any:
        """Return the state of a particle that has no episode yet; the first `step` starts one."""

    @abc.abstractmethod
    def step(
        self, dynamics: Dynamics, theta: Theta, state: Any, key: Key[Array, ""], meta_step: Int[Array, ""]
    ) -> tuple[Any, Estimate]:
        """Advance the particle by one window, starting an episode first where the last one is over.

        Args:
            dynamics: the unrolled graph.
            theta: the present meta-parameters.
            state: what `init` or the last `step` returned.
            key: fresh randomness for this particle and window.
            meta_step: meta-steps done so far.

        Returns:
            The next state, and the estimate from this window.
        """

    @property
    @abc.abstractmethod
    def steps_per_window(self) -> int:
        """Inner steps that one `step` runs, all antithetic members counted."""

    def draw_horizon(
        self, key: Key[Array, ""], first: Bool[Array, ""], meta_step: Int[Array, ""]
    ) -> Int[Array, ""]:
        """Draw the length of an episode in inner steps; a particle's first one may be cut (`staggered`)."""
        length_key, cut_key = jax.random.split(key)
        steps = self.horizon.sample(length_key, self.window, meta_step)
        if not self.staggered:
            return steps
        windows = jax.random.randint(cut_key, (), 1, steps // self.window + 1)
        return jnp.where(first, windows * self.window, steps)


def window_metrics(episodes: Episode, window: Window) -> dict[str, Float[Array, ""]]:
    """Return the metrics that every estimate has, from one episode or several stacked ones."""
    over = finished(episodes)
    return {
        "loss": jnp.mean(window.loss),
        "objective": jnp.mean(jnp.where(over, episodes.objective, 0.0)),
        "finished": jnp.mean(over.astype(jnp.float32)),
        "diverged": jnp.mean(episodes.diverged),
    }

"""Validation of the unperturbed theta on fixed episodes, and of references on the same episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lopt import lowest

from ..estimators import Estimator
from ..population.mesh import local_copy
from ..problems.base import Rival, Trial
from ..unroll import run_episode

_CURVE_POINTS = 100
_EPISODES = np.uint32(2**32 - 1)
"""Folded into a run's key for the episodes of its validation; meta-steps are always below it."""


class Judgement(NamedTuple):
    """The results of a theta, averaged over the fixed episodes."""

    objective: Float[Array, ""]
    """The run's objective."""
    diverged: Float[Array, ""]
    """Share of episodes that diverged."""
    curve: Float[Array, " points"]
    """Losses over the episode; `Judge.steps` is the axis."""


class Reference(NamedTuple):
    """The best of a rival's candidates on a trial."""

    setting: float
    """The candidate's setting, such as its learning rate."""
    objective: float
    curve: tuple[float, ...]


class Judge:
    """Evaluates thetas on the same episodes of a trial, on one device of this process.

    Args:
        trial: the system and the horizon.
        estimator: the run's estimator, whose objective is measured.
        episodes: number of episodes.
        key: the run's PRNG key.
    """

    def __init__(self, trial: Trial, estimator: Estimator, episodes: int, key: Key[Array, ""]) -> None:
        horizon, window = trial.horizon, estimator.window
        ends = np.arange(window, horizon + 1, window)
        self.steps = tuple(float(piece[-1]) for piece in _pieces(ends))
        """The curve's axis: inner steps done at the end of the range that a point averages."""
        keys = jax.random.split(jax.random.fold_in(key, _EPISODES), episodes)
        self._dynamics = trial.dynamics

        def judge(theta: Any, dynamics: Any) -> Judgement:
            def episode(key: Array) -> Judgement:
                ended, got = run_episode(dynamics, estimator.objective, theta, horizon, key, window)
                return Judgement(ended.objective, ended.diverged, got.loss)

            judged = jax.vmap(episode)(keys)
            return jax.tree.map(lambda x: jnp.mean(x, axis=0, dtype=jnp.float32), judged)

        self._judge: Callable[[Any, Any], Judgement] = jax.jit(judge)
        self._judge_each = jax.jit(
            lambda thetas, dynamics: jax.lax.map(lambda theta: judge(theta, dynamics), thetas)
        )

    def __call__(self, theta: Any) -> Judgement:
        """Evaluate a theta that is placed on the run's devices; return numpy values."""
        judged = jax.device_get(self._judge(local_copy(theta), self._dynamics))
        return judged._replace(curve=_thinned(judged.curve))

    def each(self, thetas: Any) -> Judgement:
        """Evaluate thetas stacked along the first axis of each leaf; return numpy values, stacked."""
        judged: Any = jax.device_get(self._judge_each(thetas, self._dynamics))
        return judged

    def best_of(self, rival: Rival) -> Reference:
        """Evaluate a reference's candidates, and return the best; non-finite objectives are the worst."""
        judged = self.each(rival.thetas)
        best = lowest(np.asarray(judged.objective))
        curve = tuple(float(x) for x in _thinned(np.asarray(judged.curve[best])))
        return Reference(rival.settings[best], float(judged.objective[best]), curve)


def _pieces(values: np.ndarray) -> list[np.ndarray]:
    return np.array_split(values, min(len(values), _CURVE_POINTS))


def _thinned(curve: np.ndarray) -> np.ndarray:
    return np.array([piece.mean() for piece in _pieces(curve)])

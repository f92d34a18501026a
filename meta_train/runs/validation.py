"""Judge theta, unperturbed, on fixed episodes, and an Adam with a tuned learning rate on the same ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt import LearnableAdam

from ..config.build import Judged, Parts
from ..population.mesh import local_copy
from ..unroll import advance, start

ADAM_RATES = (1e-4, 1.0)
"""The lowest and the highest learning rate that Adam is tuned over, on a logarithmic grid."""
_CURVE_POINTS = 100


class Judgement(NamedTuple):
    """What fixed episodes say of a theta, averaged over them."""

    objective: Float[Array, ""]
    """The run's objective."""
    diverged: Float[Array, ""]
    """Share of episodes that diverged."""
    curve: Float[Array, " points"]
    """Losses over the episode; `Judge.steps` is the axis."""


class Reference(NamedTuple):
    """An Adam with the best of its learning rates."""

    rate: float
    objective: float
    curve: tuple[float, ...]


class Judge:
    """Judges thetas on the same episodes of a task, on one device of this process.

    Args:
        parts: the run's.
        judged: one of what it is judged on: the task and the horizon.
        episodes: how many.
    """

    def __init__(self, parts: Parts, judged: Judged, episodes: int) -> None:
        estimator = parts.estimator
        horizon, window = judged.horizon, estimator.window
        windows = horizon // window
        ends = np.arange(1, windows + 1) * window
        self.steps = tuple(float(piece[-1]) for piece in _pieces(ends))
        """The curve's axis: inner steps done at the end of what a point averages."""
        keys = jax.random.split(jax.random.fold_in(parts.key, np.uint32(2**32 - 1)), episodes)
        self._dynamics = judged.dynamics

        def judge(theta: Any, dynamics: Any) -> Judgement:
            def episode(key: Array) -> Judgement:
                start_key, advance_key = jax.random.split(key)
                begun = start(dynamics, theta, jnp.asarray(horizon, jnp.int32), start_key)

                def next_window(now: Any, key: Array) -> tuple[Any, Array]:
                    now, got = advance(dynamics, estimator.objective, theta, now, window, key)
                    return now, got.loss

                ended, curve = jax.lax.scan(next_window, begun, jax.random.split(advance_key, windows))
                return Judgement(ended.objective, ended.diverged, curve)

            judged = jax.vmap(episode)(keys)
            return jax.tree.map(lambda x: jnp.mean(x, axis=0, dtype=jnp.float32), judged)

        self._judge: Callable[[Any, Any], Judgement] = jax.jit(judge)
        self._judge_each = jax.jit(
            lambda thetas, dynamics: jax.lax.map(lambda theta: judge(theta, dynamics), thetas)
        )

    def __call__(self, theta: Any) -> Judgement:
        """Judge a theta, as it is on the run's devices; return numpy values."""
        judged = jax.device_get(self._judge(local_copy(theta), self._dynamics))
        return judged._replace(curve=_thinned(judged.curve))

    def tuned_adam(self, rates: int) -> Reference:
        """Judge Adam at each of `rates` learning rates, and return the best.

        The rates are evenly spaced in their logarithm, from 1e-4 to 1.
        """
        grid = np.geomspace(*ADAM_RATES, rates, dtype=np.float32)
        create = jax.vmap(lambda rate: LearnableAdam.create(jax.random.key(0), learning_rate=rate))
        judged = jax.device_get(self._judge_each(create(jnp.asarray(grid)), self._dynamics))
        best = int(np.argmin(judged.objective))
        curve = tuple(float(x) for x in _thinned(judged.curve[best]))
        return Reference(float(grid[best]), float(judged.objective[best]), curve)


def _pieces(values: np.ndarray) -> list[np.ndarray]:
    return np.array_split(values, min(len(values), _CURVE_POINTS))


def _thinned(curve: np.ndarray) -> np.ndarray:
    return np.array([piece.mean() for piece in _pieces(curve)])

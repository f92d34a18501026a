"""Searches for hyperparameters by whole trainings: random, halving, Hyperband and population-based training.

Each is a compiled program with many trainings side by side. All judge a training by the mean of its step
losses, as estimators do; all draw from the space's wide ranges.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from meta_train import Dynamics, MeanLoss, Space, advance, start

OBJECTIVE = MeanLoss()


class Found(NamedTuple):
    """The best training of a round."""

    path: Any
    """Theta in each interval of the training, along the first axis of each leaf."""
    objective: Float[Array, ""]
    """What the search saw of it."""


@dataclasses.dataclass(frozen=True)
class Halving:
    """Train many for a short time, keep the best third, train these three times as long, and so on.

    With one rung it is random search; several in turn are Hyperband. All trainings of a round share the
    initial parameters and the batches, which makes them comparable.

    Attributes:
        counts: trainings on each rung.
        rungs: steps after which a rung ends; the last one is the whole training.

    References:
        Jamieson and Talwalkar 2016 (arXiv 1502.07943); Li et al. 2018, Hyperband (arXiv 1603.06560).
    """

    counts: tuple[int, ...]
    rungs: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Inner steps of a round."""
        before = (0, *self.rungs)
        return sum(
            n * (until - since) for n, since, until in zip(self.counts, before, self.rungs, strict=False)
        )

    def __call__(self, dynamics: Dynamics, space: Space, intervals: int, key: Key[Array, ""]) -> Found:
        """Run a round."""
        draw_key, start_key, *keys = jax.random.split(key, 2 + len(self.rungs))
        thetas = jax.vmap(space.draw_widely)(jax.random.split(draw_key, self.counts[0]))
        episodes = begin(dynamics, thetas, self.rungs[-1], start_key)
        done = 0
        for count, rung, own in zip(self.counts, self.rungs, keys, strict=True):
            if done:
                _, kept = jax.lax.top_k(-episodes.objective, count)
                thetas, episodes = jax.tree.map(lambda x, kept=kept: x[kept], (thetas, episodes))
            episodes, _ = proceed(dynamics, thetas, episodes, rung - done, own)
            done = rung
        best = jnp.argmin(episodes.objective)
        return Found(repeat(_take(thetas, best), intervals), episodes.objective[best])


@dataclasses.dataclass(frozen=True)
class PopulationBased:
    """Train a population; after each interval the worst fifth continue as copies of the best, perturbed.

    What it finds is a training whose hyperparameters change on the way.

    Attributes:
        size: the population.
        horizon: steps of a training.
        noise: standard deviation of the perturbation of theta.

    References:
        Jaderberg et al. 2017 (arXiv 1711.09846).
    """

    size: int
    horizon: int
    noise: float = 0.3

    @property
    def steps(self) -> int:
        """Inner steps of a round."""
        return self.size * self.horizon

    def __call__(self, dynamics: Dynamics, space: Space, intervals: int, key: Key[Array, ""]) -> Found:
        """Run a round."""
        draw_key, start_key, *keys = jax.random.split(key, 2 + intervals)
        thetas = jax.vmap(space.draw_widely)(jax.random.split(draw_key, self.size))
        episodes = begin(dynamics, thetas, self.horizon, start_key)
        paths = jax.tree.map(lambda x: jnp.zeros((self.size, intervals, *x.shape[1:]), x.dtype), thetas)
        replaced = self.size // 5

        def interval(carry: Any, now: tuple[Array, Array]) -> tuple[Any, None]:
            thetas, episodes, paths = carry
            number, own = now
            episodes, losses = proceed(dynamics, thetas, episodes, self.horizon // intervals, own)
            paths = jax.tree.map(lambda path, x: path.at[:, number].set(x), paths, thetas)
            order = jnp.argsort(losses)
            source = jnp.arange(self.size).at[order[-replaced:]].set(order[:replaced])
            moved = (source != jnp.arange(self.size)).astype(jnp.float32)
            thetas, episodes, paths = jax.tree.map(lambda x: x[source], (thetas, episodes, paths))
            leaves, treedef = jax.tree.flatten(thetas)
            noisy = [
                x + self.noise * moved.reshape(-1, *[1] * (x.ndim - 1)) * jax.random.normal(k, x.shape)
                for x, k in zip(leaves, jax.random.split(own, len(leaves)), strict=True)
            ]
            return (treedef.unflatten(noisy), episodes, paths), None

        now = (jnp.arange(intervals), jnp.stack(keys))
        (_, episodes, paths), _ = jax.lax.scan(interval, (thetas, episodes, paths), now)
        best = jnp.argmin(episodes.objective)
        return Found(_take(paths, best), episodes.objective[best])


def begin(dynamics: Dynamics, thetas: Any, horizon: int, key: Key[Array, ""]) -> Any:
    """Start a training for each theta, all from the same key."""
    return jax.vmap(lambda theta: start(dynamics, theta, jnp.asarray(horizon, jnp.int32), key))(thetas)


def proceed(dynamics: Dynamics, thetas: Any, episodes: Any, steps: int, key: Key[Array, ""]) -> Any:
    """Advance each training; return it and its mean loss in these steps."""
    each = jax.vmap(lambda theta, episode: advance(dynamics, OBJECTIVE, theta, episode, steps, key))
    episodes, window = each(thetas, episodes)
    return episodes, window.loss


def repeat(theta: Any, intervals: int) -> Any:
    """Return the path of a theta that does not change."""
    return jax.tree.map(lambda x: jnp.repeat(x[None], intervals, axis=0), theta)


def train(dynamics: Dynamics, path: Any, horizon: int, key: Key[Array, ""]) -> Float[Array, ""]:
    """Return the objective of a whole training in which theta follows a path."""
    intervals = jax.tree.leaves(path)[0].shape[0]
    start_key, *keys = jax.random.split(key, 1 + intervals)
    first = jax.tree.map(lambda x: x[0], path)
    episode = start(dynamics, first, jnp.asarray(horizon, jnp.int32), start_key)

    def interval(episode: Any, now: tuple[Any, Array]) -> tuple[Any, None]:
        theta, own = now
        return advance(dynamics, OBJECTIVE, theta, episode, horizon // intervals, own)[0], None

    return jax.lax.scan(interval, episode, (path, jnp.stack(keys)))[0].objective


def _take(tree: Any, index: Array) -> Any:
    return jax.tree.map(lambda x: x[index], tree)

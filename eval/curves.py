"""Training runs as closed scans, over seeds and hyperparameters at once."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Key

from lopt import LearnedOptimizer
from meta_train import InnerState, InnerTraining
from tasks import Split, Task

from .metrics import diverged
from .rules import OptaxRule

POINTS = 10
"""Most held-out measurements of a run."""
BATCHES = 8
"""Batches that a held-out measurement averages."""
CHUNK = 5
"""Most rules of a sweep, each with all its seeds, that run at once: what bounds memory."""


class Curves(struct.PyTreeNode):
    """Losses of training runs; a sweep's have one more axis, of rules, in front."""

    train: Float[np.ndarray, "*rules seeds horizon"]
    """Loss of each inner step's fresh training batch, before the update; infinite where it was not finite."""
    held_out: Float[np.ndarray, "*rules seeds points"]
    """Loss on the held-out split after `steps` inner steps, a mean over several batches; likewise."""
    diverged: Bool[np.ndarray, "*rules seeds"]
    """See `metrics.diverged`."""
    steps: tuple[int, ...] = struct.field(pytree_node=False)
    """Where `held_out` was measured, in inner steps done; the last is the horizon."""


def run_keys(seed: int, seeds: int, task_name: str) -> Key[Array, " seeds"]:
    """Return a key per training run.

    More seeds leave the first ones as they were, and a task's keys don't depend on the rest of its suite.
    """
    key = jax.random.fold_in(jax.random.key(seed), crc32(task_name.encode()))
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(seeds))


def training_curves(
    rule: LearnedOptimizer,
    task: Task,
    horizon: int,
    keys: Key[Array, " seeds"],
    *,
    split: Split = "outer_valid",
    points: int = POINTS,
    batches: int = BATCHES,
) -> Curves:
    """Train with one rule, a run per key.

    Runs of the same key see the same instance, initialisation and batches, whatever the rule: seeds are
    paired. One compiled program serves every rule of a structure on a task at a horizon.

    Args:
        rule: the optimizer.
        task: the inner problem; every run draws its own instance.
        horizon: length of the runs in inner steps, which rules that ask for it are told.
        keys: the randomness of each run; see `run_keys`.
        split: what the held-out loss is measured on.
        points: measure it this often, evenly spaced and at the end; the largest number up to it that divides
            the horizon is taken.
        batches: how many batches a measurement averages; the same ones at every point.

    Raises:
        ValueError: when horizon, points or batches is below 1.
    """
    curves = sweep_curves(stack([rule]), task, horizon, keys, split=split, points=points, batches=batches)
    return jax.tree.map(lambda x: x[0], curves)


def sweep_curves(
    rules: LearnedOptimizer,
    task: Task,
    horizon: int,
    keys: Key[Array, " seeds"],
    *,
    split: Split = "outer_valid",
    points: int = POINTS,
    batches: int = BATCHES,
    chunk: int = CHUNK,
) -> Curves:
    """Train with each of several rules that differ in their array leaves alone.

    Args:
        rules: one rule whose leaves have a leading axis, as `stack` makes it.
        task: as for `training_curves`, like the rest.
        horizon: likewise.
        keys: likewise; each rule runs once per key.
        split: likewise.
        points: likewise.
        batches: likewise.
        chunk: most rules that run at once; the largest number up to it that divides theirs is taken.
    """
    for name, value in (("horizon", horizon), ("points", points), ("batches", batches), ("chunk", chunk)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    points = _largest_divisor(horizon, points)
    chunk = _largest_divisor(jax.tree.leaves(rules)[0].shape[0], chunk)
    start = _start(task, keys, horizon, split, batches)
    losses = jax.device_get(_train(rules, task, start, horizon, points, chunk))
    train, held_out = (np.where(np.isfinite(x), x, np.inf) for x in losses)
    steps = tuple(int(step) for step in np.arange(1, points + 1) * (horizon // points))
    return Curves(train, held_out, diverged(train, held_out, task.ceiling), steps)


def stack(rules: list[Any]) -> Any:
    """Stack rules of one structure leaf by leaf, for `sweep_curves`."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *rules)


class _Start(NamedTuple):
    """What all rules share: everything that is drawn before the first step."""

    state: InnerState
    """With the state of no optimizer."""
    step_keys: Key[Array, " horizon"]
    batches: Any
    """Held-out batches, stacked."""
    loss_keys: Key[Array, " batches"]
    """Randomness of the loss on each of them."""


@partial(jax.jit, static_argnames=("horizon", "split", "batches"))
def _start(task: Task, keys: Key[Array, " seeds"], horizon: int, split: Split, batches: int) -> _Start:
    """Draw the start of a run per key.

    A program of its own, because drawing random numbers takes longer to compile than training does.
    """
    nothing = OptaxRule({}, optax.identity)

    def one(key: Key[Array, ""]) -> _Start:
        init_key, step_key, measure_key = jax.random.split(key, 3)
        state = InnerTraining(task).init(nothing, jnp.asarray(horizon, jnp.int32), init_key)
        batch_keys, loss_keys = jax.random.split(measure_key, (2, batches))
        held_out = jax.vmap(lambda key: task.batch(state.instance, key, split))(batch_keys)
        return _Start(state, jax.random.split(step_key, horizon), held_out, loss_keys)

    return jax.vmap(one)(keys)


@partial(jax.jit, static_argnames=("horizon", "points", "chunk"))
def _train(
    rules: LearnedOptimizer, task: Task, start: _Start, horizon: int, points: int, chunk: int
) -> tuple[Float[Array, "rules seeds horizon"], Float[Array, "rules seeds points"]]:
    """Run every rule from every start; the task is an argument, so that its data is not baked in."""
    dynamics = InnerTraining(task)

    def run(rule: LearnedOptimizer, start: _Start) -> tuple[Array, Array]:
        def measure(state: InnerState) -> Float[Array, ""]:
            loss = lambda now: task.loss(state.instance, state.params, *now)  # noqa: E731
            # One batch after the other: memory for one is enough.
            return jnp.mean(jax.lax.map(loss, (start.batches, start.loss_keys)))

        def stretch(state: InnerState, keys: Key[Array, " steps"]) -> tuple[InnerState, tuple[Array, Array]]:
            state, losses = jax.lax.scan(partial(dynamics.step, rule), state, keys)
            return state, (losses, measure(state))

        optimizer = rule.init(start.state.params, jnp.asarray(horizon, jnp.int32))
        state = start.state._replace(optimizer=optimizer)
        _, (losses, held_out) = jax.lax.scan(stretch, state, start.step_keys.reshape(points, -1))
        return losses.reshape(horizon), held_out

    all_seeds = lambda rule: jax.vmap(run, (None, 0))(rule, start)  # noqa: E731
    return jax.lax.map(all_seeds, rules, batch_size=chunk if chunk > 1 else None)


def _largest_divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)

"""Training runs as compiled scans, over seeds and hyperparameters at once."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from lopt import LearnedOptimizer, OptaxRule, UsageError
from meta_train import InnerState, InnerTraining
from tasks import Split, Task

from .curve_metrics import diverged

POINTS = 10
"""Largest number of held-out measurements of a run."""
BATCHES = 8
"""Number of batches in a held-out measurement."""
CHUNK = 5
"""Largest number of rules of a sweep, each with all its seeds, that run at once, to bound memory."""


class Curves(struct.PyTreeNode):
    """Losses of training runs; those of a sweep have an additional first axis of rules."""

    train: Float[np.ndarray, "*rules seeds horizon"]
    """Loss of each inner step's fresh training batch, before the update; infinity for non-finite losses."""
    held_out: Float[np.ndarray, "*rules seeds points"]
    """Loss on the held-out split after `steps` inner steps, a mean over several batches; infinity for
    non-finite losses."""
    diverged: Bool[np.ndarray, "*rules seeds"]
    """See `curve_metrics.diverged`."""
    steps: tuple[int, ...] = struct.field(pytree_node=False)
    """Inner steps done at the measurements of `held_out`; the last is the horizon."""
    accuracy: Float[np.ndarray, "*rules seeds"] | None = None
    """Share of held-out examples that are classified correctly after the last inner step, on the batches of
    `held_out`; None if the task has none, or it was not requested."""


def run_keys(seed: int, seeds: int, task_name: str) -> Key[Array, " seeds"]:
    """Return a key per training run.

    The first keys don't depend on the number of seeds, and a task's keys don't depend on the rest of its
    suite.
    """
    key = jax.random.fold_in(jax.random.key(seed), crc32(task_name.encode()))
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(seeds))


def training_curves(
    rule: LearnedOptimizer,
    task: Task,
    horizon: int,
    keys: Key[Array, " seeds"],
    *,
    declared: int | None = None,
    split: Split = "outer_valid",
    points: int = POINTS,
    batches: int = BATCHES,
    with_accuracy: bool = True,
) -> Curves:
    """Train with one rule, a run per key.

    Runs of the same key have the same instance, initialisation and batches for every rule, so seeds are
    paired. All rules of the same structure share one compiled program per task and horizon.

    Args:
        rule: the optimizer.
        task: the inner problem; every run draws its own instance.
        horizon: length of the runs in inner steps.
        keys: the PRNG key of each run; see `run_keys`.
        declared: the horizon given to rules that need one; None for the true one.
        split: the split of the held-out loss.
        points: number of measurements, evenly spaced with the last at the end; rounded down to a divisor of
            the horizon.
        batches: number of batches in a measurement, the same ones at every point.
        with_accuracy: whether to measure the accuracy, too, if the task has one.

    Raises:
        UsageError: if horizon, declared, points or batches is below 1.
    """
    curves = sweep_curves(
        *(stack([rule]), task, horizon, keys),
        declared=declared,
        split=split,
        points=points,
        batches=batches,
        with_accuracy=with_accuracy,
    )
    return jax.tree.map(lambda x: x[0], curves)


def sweep_curves(
    rules: LearnedOptimizer,
    task: Task,
    horizon: int,
    keys: Key[Array, " seeds"],
    *,
    declared: int | None = None,
    split: Split = "outer_valid",
    points: int = POINTS,
    batches: int = BATCHES,
    chunk: int = CHUNK,
    with_accuracy: bool = True,
) -> Curves:
    """Train with each of several rules that differ only in their array leaves.

    Args:
        rules: one rule whose leaves have a leading axis, as returned by `stack`.
        task: the inner problem.
        horizon: inner steps of each run.
        keys: one key per seed; each rule runs once per key.
        declared: the horizon given to rules that need one; None for the true one.
        split: the split of `held_out`.
        points: number of measurements, with the last at the end.
        batches: number of batches in a measurement.
        chunk: largest number of rules that run at once; rounded down to a divisor of their number.
        with_accuracy: whether to measure accuracy at the end, if the task has one.
    """
    declared = horizon if declared is None else declared
    least_one = {"horizon": horizon, "declared": declared, "points": points, "batches": batches}
    for name, value in (least_one | {"chunk": chunk}).items():
        if value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")
    points = _largest_divisor(horizon, points)
    chunk = _largest_divisor(jax.tree.leaves(rules)[0].shape[0], chunk)
    start = draw_start(task, keys, horizon, split, batches)
    told = None if declared == horizon else jnp.asarray(declared, jnp.int32)
    *losses, params = jax.device_get(_train(rules, task, start, told, horizon, points, chunk))
    train, held_out = (np.where(np.isfinite(x), x, np.inf) for x in losses)
    steps = tuple(int(step) for step in np.arange(1, points + 1) * (horizon // points))
    accuracy = _accuracies(task, start, params) if with_accuracy else None
    return Curves(train, held_out, diverged(train, held_out, task.ceiling), steps, accuracy)


def stack(rules: list[Any]) -> Any:
    """Stack rules of one structure leaf by leaf, for `sweep_curves`."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *rules)


class Start(NamedTuple):
    """The random draws that all rules share."""

    state: InnerState
    """The initial state, without an optimizer's."""
    step_keys: Key[Array, " horizon"]
    batches: Any
    """Held-out batches, stacked."""
    loss_keys: Key[Array, " batches"]
    """PRNG key of the loss on each batch."""


@partial(jax.jit, static_argnames=("horizon", "split", "batches"))
def draw_start(task: Task, keys: Key[Array, " seeds"], horizon: int, split: Split, batches: int) -> Start:
    """Draw the start of a run per key.

    This is a separate program, because drawing random numbers takes longer to compile than training.
    """
    nothing = OptaxRule({}, optax.identity)

    def one(key: Key[Array, ""]) -> Start:
        init_key, step_key, measure_key = jax.random.split(key, 3)
        state = InnerTraining(task).init(nothing, jnp.asarray(horizon, jnp.int32), init_key)
        batch_keys, loss_keys = jax.random.split(measure_key, (2, batches))
        held_out = jax.vmap(lambda key: task.batch(state.instance, key, split))(batch_keys)
        return Start(state, jax.random.split(step_key, horizon), held_out, loss_keys)

    return jax.vmap(one)(keys)


@partial(jax.jit, static_argnames=("horizon", "points", "chunk"))
def _train(
    rules: LearnedOptimizer,
    task: Task,
    start: Start,
    declared: Int[Array, ""] | None,
    horizon: int,
    points: int,
    chunk: int,
) -> tuple[Float[Array, "rules seeds horizon"], Float[Array, "rules seeds points"], Any]:
    """Run every rule from every start; return losses, held-out losses, and the trained parameters.

    The task is an argument, so that its data doesn't become a constant. The declared horizon is an argument,
    too, so that one program works for all; None means the true one.
    """
    dynamics = InnerTraining(task)

    def run(rule: LearnedOptimizer, start: Start) -> tuple[Array, Array, Any]:
        def trained(state: InnerState) -> Any:
            return rule.evaluated(state.optimizer, state.params)

        def measure(state: InnerState) -> Float[Array, ""]:
            params = trained(state)
            loss = lambda now: task.loss(state.instance, params, *now)  # noqa: E731
            # One batch after the other, to save memory.
            return jnp.mean(jax.lax.map(loss, (start.batches, start.loss_keys)))

        def stretch(state: InnerState, keys: Key[Array, " steps"]) -> tuple[InnerState, tuple[Array, Array]]:
            state, losses = jax.lax.scan(partial(dynamics.step, rule), state, keys)
            return state, (losses, measure(state))

        told = jnp.asarray(horizon, jnp.int32) if declared is None else declared
        optimizer = rule.init(start.state.params, told)
        state = start.state._replace(optimizer=optimizer)
        state, (losses, held_out) = jax.lax.scan(stretch, state, start.step_keys.reshape(points, -1))
        return losses.reshape(horizon), held_out, trained(state)

    all_seeds = lambda rule: jax.vmap(run, (None, 0))(rule, start)  # noqa: E731
    return jax.lax.map(all_seeds, rules, batch_size=chunk if chunk > 1 else None)


def _accuracies(task: Task, start: Start, params: Any) -> Float[np.ndarray, "rules seeds"] | None:
    """Return the accuracy of each run's trained parameters, whose first axes are rules and seeds."""
    rules = jax.tree.leaves(params)[0].shape[0]
    # One rule after the other, so that sweeps of any length, and all optimizers, share one program.
    of_rules = [_accuracy(task, start, jax.tree.map(lambda x, at=at: x[at], params)) for at in range(rules)]
    return None if of_rules[0] is None else np.stack(jax.device_get(of_rules))


@jax.jit
def _accuracy(task: Task, start: Start, params: Any) -> Float[Array, " seeds"] | None:
    """Return the accuracy of each run, a mean over the held-out batches, in a separate program."""

    def one(start: Start, params: Any) -> Float[Array, ""] | None:
        accuracy = lambda now: task.accuracy(start.state.instance, params, *now)  # noqa: E731
        shares = jax.lax.map(accuracy, (start.batches, start.loss_keys))
        return None if shares is None else jnp.mean(shares)

    return jax.vmap(one)(start, params)


def _largest_divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)

"""Runs of several optimizers on one task, each with all its rates and seeds at once, and the time of one run.

A large model on a GPU, in little time: all programs are compiled at the same time, before any of them runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from lopt import LearnedOptimizer
from meta_train import InnerState, InnerTraining
from tasks import Task

from ..training.curves import Start, draw_start

ROUNDS = 3
"""Number of times that each optimizer is timed."""


class SweptRuns(NamedTuple):
    """What the runs of an optimizer gave, by rate and seed; infinity for losses that are not finite."""

    train: Float[np.ndarray, "rates seeds horizon"]
    """Loss of each inner step's batch, before the update."""
    held_out: Float[np.ndarray, "rates seeds"]
    """Loss on the held-out split after the last inner step."""
    seconds_per_step: float
    """Of a single run, gradient and update, without compilation."""


class _Programs(NamedTuple):
    """The compiled programs of one optimizer."""

    begin: Callable[..., InnerState]
    """Starts all rates and seeds."""
    advance: Callable[..., tuple[InnerState, Array]]
    """Advances all rates and seeds."""
    measure: Callable[..., Array]
    """Measures all rates and seeds."""
    first: Callable[..., tuple[LearnedOptimizer, InnerState, Array]]
    """Takes one run of them out."""
    alone: Callable[..., tuple[InnerState, Array]]
    """Advances one run, with axes of one rate and one seed."""


def race(
    sweeps: Mapping[str, LearnedOptimizer],
    task: Task,
    horizon: int,
    keys: Key[Array, " seeds"],
    *,
    stretch: int = 100,
    batches: int = 64,
    rounds: int = ROUNDS,
    tell: Callable[[str], None] = print,
) -> dict[str, SweptRuns]:
    """Train with each of several optimizers, at each of its rates, a run per key.

    Seeds are paired as in `training_curves`, and so are batches.

    Args:
        sweeps: by name, rules of one structure whose leaves have a leading axis of rates, from `stack`.
        task: the inner problem; its split "outer_valid" is the held-out one.
        horizon: inner steps of each run, a multiple of `stretch`.
        keys: the PRNG key of each run.
        stretch: inner steps of one call of a program.
        batches: number of batches in the held-out measurement.
        rounds: number of times that each optimizer is timed. They alternate, and the median counts.
        tell: called with lines about its progress.
    """
    start = draw_start(task, keys, horizon, "outer_valid", batches)
    stretches = _cut(start.step_keys, horizon // stretch)
    began = time.perf_counter()
    programs = _compile(sweeps, task, start, jnp.asarray(horizon, jnp.int32), stretches[0])
    tell(f"compiling took {time.perf_counter() - began:.1f} seconds")
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, rules in sweeps.items():
        began = time.perf_counter()
        found[name] = _train(programs[name], rules, task, start, horizon, stretches)
        tell(f"{name}: {found[name][1].mean(-1).min():.4f} in {time.perf_counter() - began:.1f} seconds")
    seconds = _time(programs, sweeps, task, start, horizon, stretches[0], rounds)
    return {name: SweptRuns(*found[name], seconds[name]) for name in sweeps}


def _compile(
    sweeps: Mapping[str, LearnedOptimizer],
    task: Task,
    start: Start,
    horizon: Int[Array, ""],
    keys: Key[Array, "seeds stretch"],
) -> dict[str, _Programs]:
    """Compile all programs in threads; none runs meanwhile, which would disturb a GPU's autotuning."""
    with ThreadPoolExecutor() as pool:

        def compiled(program: Any, *arguments: Any) -> Any:
            return pool.submit(program.lower(*arguments).compile)

        pending = {}
        # The last ones are learned optimizers, which take longest.
        for name, rules in reversed(list(sweeps.items())):
            states = jax.eval_shape(_begin, rules, start.state, horizon)
            one = jax.eval_shape(_first, rules, states, keys)
            advance = compiled(_advance, rules, task, states, keys)
            single = jax.tree.leaves(states)[0].shape[:2] == (1, 1)
            alone = advance if single else compiled(_advance, one[0], task, *one[1:])
            pending[name] = (
                compiled(_begin, rules, start.state, horizon),
                advance,
                compiled(_measure, rules, task, states, start),
                compiled(_first, rules, states, keys),
                alone,
            )
        return {name: _Programs(*(one.result() for one in pending[name])) for name in sweeps}


def _train(
    programs: _Programs,
    rules: LearnedOptimizer,
    task: Task,
    start: Start,
    horizon: int,
    stretches: list[Key[Array, "seeds stretch"]],
) -> tuple[np.ndarray, np.ndarray]:
    """Run all rates and seeds; return training losses [rates, seeds, horizon] and held-out ones."""
    states = programs.begin(rules, start.state, jnp.asarray(horizon, jnp.int32))
    losses = []
    for keys in stretches:
        states, now = programs.advance(rules, task, states, keys)
        losses.append(now)
    held_out = jax.device_get(programs.measure(rules, task, states, start))
    train = np.concatenate(jax.device_get(losses), axis=-1)
    return np.where(np.isfinite(train), train, np.inf), np.where(np.isfinite(held_out), held_out, np.inf)


def _time(
    programs: Mapping[str, _Programs],
    sweeps: Mapping[str, LearnedOptimizer],
    task: Task,
    start: Start,
    horizon: int,
    keys: Key[Array, "seeds stretch"],
    rounds: int,
) -> dict[str, float]:
    """Return the seconds per inner step of the first seed's run at the first rate, by optimizer."""
    runs = {}
    for name, rules in sweeps.items():
        states = programs[name].begin(rules, start.state, jnp.asarray(horizon, jnp.int32))
        runs[name] = programs[name].first(rules, states, keys)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, (rule, state, keys) in runs.items():
            began = time.perf_counter()
            state, _ = jax.block_until_ready(programs[name].alone(rule, task, state, keys))
            times[name].append(time.perf_counter() - began)
            # The run goes on from there: its former state was donated.
            runs[name] = rule, state, keys
    # The first call of a program takes longer.
    return {name: statistics.median(taken[1:]) / keys.shape[1] for name, taken in times.items()}


def _cut(keys: Key[Array, "seeds horizon"], parts: int) -> list[Key[Array, "seeds stretch"]]:
    """Cut runs into stretches; on the host, because every slice would be a program of its own."""
    numbers = np.split(jax.device_get(jax.random.key_data(keys)), parts, axis=1)
    return [jax.random.wrap_key_data(jnp.asarray(part), impl=jax.random.key_impl(keys)) for part in numbers]


@jax.jit
def _first(rules: Any, states: Any, keys: Any) -> tuple[Any, Any, Any]:
    """Return the first seed's run at the first rate, with axes of length one."""
    first = jax.tree.map(lambda x: x[:1], rules), jax.tree.map(lambda x: x[:1, :1], states)
    return *first, keys[:1]


def _over(function: Callable[..., Any], in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """Return `jax.vmap(function, in_axes)`; over an axis of length one, the function itself.

    So the program of a single run has no trace of the others.
    """

    def mapped(*arguments: Any) -> Any:
        along = [tree for tree, axis in zip(arguments, in_axes, strict=True) if axis is not None]
        if jax.tree.leaves(along)[0].shape[0] > 1:
            return jax.vmap(function, in_axes)(*arguments)
        first = lambda tree, axis: tree if axis is None else jax.tree.map(lambda x: x[0], tree)  # noqa: E731
        return jax.tree.map(lambda x: x[None], function(*map(first, arguments, in_axes)))

    return mapped


@jax.jit
def _begin(rules: LearnedOptimizer, start: InnerState, horizon: Int[Array, ""]) -> InnerState:
    def one(rule: LearnedOptimizer, state: InnerState) -> InnerState:
        return state._replace(optimizer=rule.init(state.params, horizon))

    return _over(_over(one, (None, 0)), (0, None))(rules, start)


def _run(
    rule: LearnedOptimizer, task: Task, state: InnerState, keys: Key[Array, " stretch"]
) -> tuple[InnerState, Float[Array, " stretch"]]:
    return jax.lax.scan(partial(InnerTraining(task).step, rule), state, keys)


@partial(jax.jit, donate_argnums=2)
def _advance(
    rules: LearnedOptimizer, task: Task, states: InnerState, keys: Key[Array, "seeds stretch"]
) -> tuple[InnerState, Float[Array, "rates seeds stretch"]]:
    return _over(_over(_run, (None, None, 0, 0)), (0, None, 0, None))(rules, task, states, keys)


@jax.jit
def _measure(
    rules: LearnedOptimizer, task: Task, states: InnerState, start: Start
) -> Float[Array, "rates seeds"]:
    def one(rule: LearnedOptimizer, state: InnerState, batches: Any, keys: Array) -> Float[Array, ""]:
        params = rule.evaluated(state.optimizer, state.params)
        # One batch after the other, to save memory.
        loss = lambda now: task.loss(state.instance, params, *now)  # noqa: E731
        return jnp.mean(jax.lax.map(loss, (batches, keys)))

    of_seeds = _over(one, (None, 0, 0, 0))
    return _over(of_seeds, (0, 0, None, None))(rules, states, start.batches, start.loss_keys)

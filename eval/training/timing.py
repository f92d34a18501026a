"""The duration of an inner step: gradient and update of a single run, on the task itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from lopt import LearnedOptimizer
from meta_train import InnerState, InnerTraining
from tasks import Split, Task

from .curves import BATCHES, draw_start

STEPS = 50
"""Largest number of inner steps that are timed at once."""
ROUNDS = 5


def seconds_per_step(
    rules: Mapping[str, LearnedOptimizer],
    task: Task,
    horizon: int,
    keys: Key[Array, " seeds"],
    *,
    split: Split = "outer_valid",
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Measure the seconds of an inner step of one run, by rule.

    Every rule runs the first steps of the first seed's run. The rules alternate, so that changes of the
    machine's speed affect all equally. The result is the median over the rounds, without compilation.

    Args:
        rules: the rules by name.
        task: the inner problem.
        horizon: length of the run in inner steps, given to rules that need it.
        keys: as for `training_curves`; the runs start as they do there.
        split: as for `training_curves`.
        rounds: number of times that each rule is timed.
    """
    start = draw_start(task, keys, horizon, split, BATCHES)
    first = jax.tree.map(lambda x: x[0], (start.state, start.step_keys))
    state, steps = first[0], first[1][:STEPS]
    programs = {
        name: partial(_run, rule, task, state, jnp.asarray(horizon, jnp.int32), steps)
        for name, rule in rules.items()
    }
    times: dict[str, list[float]] = {name: [] for name in rules}
    for _ in range(rounds + 1):
        for name, program in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(program())
            times[name].append(time.perf_counter() - began)
    # The first round compiles.
    return {name: statistics.median(taken[1:]) / len(steps) for name, taken in times.items()}


@jax.jit
def _run(rule: LearnedOptimizer, task: Task, start: InnerState, horizon: Array, keys: Array) -> Any:
    state = start._replace(optimizer=rule.init(start.params, horizon))
    return jax.lax.scan(partial(InnerTraining(task).step, rule), state, keys)

"""`scripts/benchmark.py tune`: trainings with different hyperparameters, all at once and one by one."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HORIZON, WINDOW = 200, 10
NAMES = {
    "tuned": "tuning, all particles in one program",
    "scanned": "one training at a time, one compiled loop each",
    "stepped": "one training at a time, a compiled step called from Python",
}


def run(particles: int, batches: Sequence[int], devices: int, seconds: float, path: Path | None) -> int:
    """Time tuning and two loops of single trainings in turn, and print inner steps per second.

    An inner step is the same everywhere: a batch, its gradient, an update by SGD with momentum, and the loss
    on a validation batch. The loops are plain optax. They compile once and are given the hyperparameters as
    arguments, so that no training waits for the compiler.

    Args:
        particles: antithetic pairs of trainings.
        batches: batch sizes to measure with.
        devices: CPU devices that they are spread over.
        seconds: how long to repeat each for.
        path: file for the results as JSON.

    Returns:
        The exit status.
    """
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    found = [measure(particles, batch, seconds) for batch in batches]
    for one in found:
        _show(one)
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def measure(particles: int, batch: int, seconds: float) -> dict[str, Any]:
    """Return what `run` shows for a batch size, on the devices that there are."""
    import jax

    import tasks

    name = f"digits-mlp-of-batch-{batch}"
    if name not in tasks.TASKS:
        sizes = (batch, batch)
        tasks.register(name)(lambda: tasks.ImageMLP(tasks.load_dataset("digits"), batch_sizes=sizes))
    rounds = {"tuned": _tuned(name, particles), "scanned": _scanned(name), "stepped": _stepped(name)}
    compiling = {name: _seconds(one)[0] for name, one in rounds.items()}
    rates: dict[str, list[float]] = {name: [] for name in rounds}
    until = time.perf_counter() + seconds * len(rounds)
    while time.perf_counter() < until or not rates["tuned"]:
        for way, one in rounds.items():
            rates[way].append(_rate(one, seconds / 5))
    return {
        "batch": batch,
        "members": 2 * particles,
        "devices": jax.device_count(),
        "compile_s": compiling,
        "inner_steps_per_s": {name: statistics.median(got) for name, got in rates.items()},
        "rounds": rates,
    }


def _seconds(one: Callable[[], int]) -> tuple[float, int]:
    began = time.perf_counter()
    steps = one()
    return time.perf_counter() - began, steps


def _rate(one: Callable[[], int], least: float) -> float:
    """Return inner steps per second over at least so many seconds."""
    taken, steps = _seconds(one)
    while taken < least:
        more, done = _seconds(one)
        taken, steps = taken + more, steps + done
    return steps / taken


def _tuned(task: str, particles: int) -> Callable[[], int]:
    """Return a function that runs ten meta-steps of PES, and returns the inner steps of all members."""
    import jax
    import jax.numpy as jnp
    import optax

    from meta_train import (
        PES,
        ConstantHorizon,
        Devices,
        HyperparameterTuning,
        Mixture,
        init_run,
        make_meta_step,
    )

    problem = HyperparameterTuning((task,), tune=("learning_rate", "momentum"))
    dynamics = {"only": problem.members()[task].dynamics}
    estimator = PES(ConstantHorizon(HORIZON), WINDOW, sigma=0.1)
    outer, mixture = optax.adam(0.05), Mixture.of(particles, Devices())
    theta = problem.theta(jax.random.key(0))
    held = [init_run(dynamics, estimator, outer, mixture, theta, jax.random.key(1))]
    step = make_meta_step(estimator, outer, mixture)

    def one() -> int:
        state, members, metrics = step(*held.pop(), (dynamics, jnp.asarray(10, jnp.int32)))
        jax.block_until_ready(metrics)
        held.append((state, members))
        return 10 * particles * estimator.steps_per_window

    return one


def _single(task: str) -> tuple[Any, Any, Any]:
    """Return a task, and functions that start a training and do a step of it, in plain optax."""
    import jax
    import jax.numpy as jnp
    import optax

    import tasks

    def begin(task: Any, key: Any) -> Any:
        sample_key, init_key = jax.random.split(key)
        instance = task.sample(sample_key)
        params = task.init(instance, init_key)
        return instance, params, optax.sgd(jnp.float32(0.1), jnp.float32(0.9)).init(params)

    def step(task: Any, rate: Any, momentum: Any, carry: Any, key: Any) -> tuple[Any, Any]:
        instance, params, state = carry
        batch_key, loss_key, measure_key = jax.random.split(key, 3)
        batch = task.batch(instance, batch_key, "train")
        grads = jax.grad(task.loss, argnums=1)(instance, params, batch, loss_key)
        updates, state = optax.sgd(rate, momentum).update(grads, state, params)
        params = optax.apply_updates(params, updates)
        held_out = task.batch(instance, measure_key, "inner_valid")
        return (instance, params, state), task.loss(instance, params, held_out, loss_key)

    return tasks.build(task), begin, step


def _scanned(name: str) -> Callable[[], int]:
    import jax
    import jax.numpy as jnp

    task, begin, step = _single(name)

    @jax.jit
    def train(task: Any, rate: Any, momentum: Any, key: Any) -> Any:
        keys = jax.random.split(key, HORIZON)
        advance = lambda carry, key: step(task, rate, momentum, carry, key)  # noqa: E731
        return jnp.mean(jax.lax.scan(advance, begin(task, key), keys)[1])

    def one() -> int:
        train(task, jnp.float32(0.1), jnp.float32(0.9), jax.random.key(0)).block_until_ready()
        return HORIZON

    return one


def _stepped(name: str) -> Callable[[], int]:
    import jax
    import jax.numpy as jnp

    task, begin, step = _single(name)
    start, advance = jax.jit(begin), jax.jit(step, donate_argnums=3)

    def one() -> int:
        rate, momentum = jnp.float32(0.1), jnp.float32(0.9)
        carry = start(task, jax.random.key(0))
        losses = []
        for key in jax.random.split(jax.random.key(0), HORIZON):
            carry, loss = advance(task, rate, momentum, carry, key)
            losses.append(loss)
        jax.block_until_ready(losses)
        return HORIZON

    return one


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    rates = found["inner_steps_per_s"]
    title = f"batch {found['batch']}: {found['members']} trainings at once on {found['devices']} devices"
    table = Table("", "inner steps / s", "tuning over it", "compile s", title=title)
    for name, about in NAMES.items():
        ratio = rates["tuned"] / rates[name]
        table.add_row(about, f"{rates[name]:,.0f}", f"{ratio:.2f}", f"{found['compile_s'][name]:.1f}")
    Console(width=110).print(table)

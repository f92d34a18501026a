"""The cost of an optimizer's update: time, operations and memory, on a network of fixed size."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lopt import LearnedOptimizer

SHAPES = {"hidden": ((256, 256), (256,)), "output": ((256, 256), (256,))}
"""The network's tensors: two layers of 256 units."""
NETWORK_SIZE = sum(math.prod(shape) for shapes in SHAPES.values() for shape in shapes)
_STEPS = 20
_ROUNDS = 9


@dataclasses.dataclass(frozen=True)
class Cost:
    """Costs of one optimizer."""

    step_time: float
    """Time of an update, as a multiple of the reference's: the median over alternating rounds."""
    flops: float
    """Floating-point operations per parameter and update, as XLA counts them."""
    state_bytes: float
    """Bytes of optimizer state per parameter; a float32 parameter itself has 4."""


def measure_costs(
    rules: Mapping[str, LearnedOptimizer], reference: str, rounds: int = _ROUNDS
) -> dict[str, Cost]:
    """Measure the cost of an update, without its gradient.

    Args:
        rules: the rules by name.
        reference: the name of the rule whose time is 1.
        rounds: number of times that each is timed. They alternate, so that changes of the machine's speed
            affect all equally.
    """
    params = _params()
    programs = {name: _compile(rule, params) for name, rule in rules.items()}
    times: dict[str, list[float]] = {name: [] for name in rules}
    for _ in range(rounds + 1):
        for name, (program, state) in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(program(params, state))
            times[name].append(time.perf_counter() - began)
    ratios = {
        name: statistics.median(
            mine / its for mine, its in zip(times[name][1:], times[reference][1:], strict=True)
        )
        for name in rules
    }
    return {
        name: Cost(
            step_time=ratios[name],
            flops=_flops(rules[name], params) / NETWORK_SIZE,
            state_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / NETWORK_SIZE,
        )
        for name, (_, state) in programs.items()
    }


def _params() -> dict[str, list[jax.Array]]:
    keys = iter(jax.random.split(jax.random.key(0), 4))
    return {
        layer: [0.05 * jax.random.normal(next(keys), shape) for shape in shapes]
        for layer, shapes in SHAPES.items()
    }


def _update(rule: LearnedOptimizer, params: Any, state: Any) -> tuple[Any, Any]:
    # The gradient depends on the parameters, so that no step can be precomputed.
    grads = jax.tree.map(lambda p: p + 1e-3, params)
    updates, state = rule.update(grads, state, params, jnp.float32(1.0))
    return jax.tree.map(jnp.add, params, updates), state


def _compile(rule: LearnedOptimizer, params: Any) -> tuple[Any, Any]:
    state = rule.init(params, 1000)

    @jax.jit
    def run(params: Any, state: Any) -> Any:
        step = lambda _, carry: _update(rule, *carry)  # noqa: E731
        return jax.lax.fori_loop(0, _STEPS, step, (params, state))

    return run, state


def _flops(rule: LearnedOptimizer, params: Any) -> float:
    state = rule.init(params, 1000)
    program = jax.jit(lambda p, s: _update(rule, p, s)).lower(params, state).compile()
    return float((program.cost_analysis() or {})["flops"])

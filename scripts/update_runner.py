"""The optimizers of `scripts/benchmark.py optimizers`, and the runner of their updates."""

from __future__ import annotations

import dataclasses
import math
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lopt

HORIZON = 1000
SHORTEST_TURN = 0.1
"""Smallest duration of a turn in seconds, which determines its number of updates."""
WARM_UP = 3

BASELINES: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adam": lambda: optax.adam(1e-3),
    "adafactor": lambda: optax.adafactor(1e-3),
    "muon": lambda: optax.contrib.muon(1e-3),
    "schedule-free": lambda: optax.contrib.schedule_free_adamw(1e-3),
}


def optimizers() -> dict[str, Callable[[], optax.GradientTransformation]]:
    """Return functions that make each optimizer, by name: optax's, all architectures, all published ones."""
    rules: dict[str, Callable[[], lopt.LearnedOptimizer]] = {
        name: lambda name=name: lopt.create(name, jax.random.key(0)) for name in lopt.ARCHITECTURES
    }
    rules |= {name: lambda name=name: lopt.load(name) for name in lopt.published()}
    exported = {
        name: lambda rule=rule: lopt.as_optax(rule(), horizon=HORIZON) for name, rule in rules.items()
    }
    return BASELINES | exported


@dataclasses.dataclass
class Runner:
    """A compiled update, `(gradients, state, params) -> (updates, state)`, with its current state."""

    tx: optax.GradientTransformation
    compiled: Any
    params: Any
    gradients: list[Any]
    """Used in turn."""
    state: Any = None
    updates: Any = None
    count: int = 0
    """Number of updates done."""
    calls: int = 1
    """Number of updates in a turn."""
    finite: bool = True
    """Whether all checked updates were finite."""
    copied: bool = False
    """Whether a buffer occurred twice, so that the state had to be copied before it could be donated."""

    def warm_up(self) -> None:
        """Create the state, run some updates, and choose the number of updates in a turn."""
        self.state = jax.jit(self.tx.init)(self.params)
        shortest = math.inf
        for _ in range(WARM_UP):
            self._copy_shared()
            _, wall = self.turn()
            self.check()
            shortest = min(shortest, wall)
        self.calls = math.ceil(SHORTEST_TURN / shortest)

    def turn(self) -> tuple[float, float]:
        """Run a turn; return processor and wall time per update."""
        if self.calls > 1:
            self.step()  # to refill the caches after the other optimizer's turn
        began = clock()
        for _ in range(self.calls):
            self.step()
        cpu, wall = since(began)
        return cpu / self.calls, wall / self.calls

    def step(self) -> None:
        """Run an update on the next gradients, and wait for it."""
        gradient = self.gradients[self.count % len(self.gradients)]
        self.count += 1
        self.updates, self.state = self.compiled(gradient, self.state, self.params)
        jax.block_until_ready((self.updates, self.state))

    def check(self) -> None:
        """Check that the last updates, and the state, which depends on earlier ones, are finite."""
        leaves = map(np.asarray, jax.tree.leaves((self.updates, self.state)))
        self.finite &= all(bool(np.isfinite(leaf).all()) for leaf in leaves)

    def _copy_shared(self) -> None:
        leaves = [leaf for leaf in jax.tree.leaves((self.params, self.state)) if leaf.size]
        if len({leaf.unsafe_buffer_pointer() for leaf in leaves}) < len(leaves):
            self.state, self.copied = jax.tree.map(jnp.copy, self.state), True


def clock() -> tuple[float, float]:
    """Return this process's processor time and the wall time, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """Return processor and wall time since then."""
    cpu, wall = clock()
    return cpu - began[0], wall - began[1]

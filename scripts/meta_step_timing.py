"""One case of the meta-step, built and timed: shared by `benchmark.py` and `check_gpu.py`."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lopt
from meta_train import (
    PES,
    ConstantHorizon,
    Devices,
    Dynamics,
    InnerTraining,
    Mixture,
    init_run,
    make_meta_step,
)
from tasks import SPLITS, Dataset, ImageMLP

SIDES = {"mlp64": 8, "mlp784": 28}
"""Images' sides by task: 64-32-10 and 784-32-10."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A meta-step of PES on a perceptron with 32 hidden units, on random images."""

    task: str
    particles: int
    window: int
    optimizer: str = "adafactor-mlp"
    hidden: int | None = None
    """Units of the learned optimizer's hidden layers; None for its default."""
    batch: int = 128
    devices: int | None = None
    """None for all."""
    chunk: int | None = None

    @property
    def inner_steps(self) -> int:
        """Inner steps in a meta-step: those of a pair of members per particle."""
        return 2 * self.particles * self.window


@dataclasses.dataclass
class MetaStep:
    """A compilable meta-step with its arguments, which each call replaces."""

    function: Any
    """Jitted, or compiled."""
    state: Any
    members: Any
    dynamics: Any
    metrics: Any = None
    """Those of the last call; before it their shapes, once the function is compiled."""

    @classmethod
    def of(cls, case: Case) -> MetaStep:
        """Build a case."""
        theta = make_theta(case)
        dynamics = {"only": make_dynamics(case)}
        estimator = PES(horizon=ConstantHorizon(4 * case.window), window=case.window)
        mixture = Mixture.of(case.particles, Devices(case.devices, chunk=case.chunk))
        outer = optax.adam(1e-4)
        state, members = init_run(dynamics, estimator, outer, mixture, theta, jax.random.key(1))
        function = make_meta_step(estimator, outer, mixture)
        return cls(function, state, members, mixture.devices.replicate(dynamics))

    @property
    def arguments(self) -> tuple[Any, Any, Any]:
        """The arguments of a call that runs one meta-step."""
        return self.state, self.members, (self.dynamics, jnp.asarray(1, jnp.int32))

    def compile(self) -> float:
        """Compile the function; return the seconds that it took, with tracing."""
        began = time.perf_counter()
        lowered = self.function.lower(*self.arguments)
        self.metrics = lowered.out_info[-1]
        self.function = lowered.compile()
        return time.perf_counter() - began

    def call(self, count: int) -> float:
        """Run `count` meta-steps in one call; return its seconds."""
        count_ = jnp.asarray(count, jnp.int32)
        began = time.perf_counter()
        self.state, self.members, self.metrics = self.function(
            self.state, self.members, (self.dynamics, count_)
        )
        jax.block_until_ready(self.metrics)
        return time.perf_counter() - began

    def repeat(self, count: int, seconds: float) -> list[float]:
        """Call until `seconds` are over, at least twice after a call to warm up; return their seconds."""
        self.call(count)
        times: list[float] = []
        while len(times) < 2 or sum(times) < seconds:
            times.append(self.call(count))
        return times


def make_theta(case: Case) -> lopt.LearnedOptimizer:
    """Return a case's learned optimizer, untrained."""
    options = {} if case.hidden is None else {"hidden_size": case.hidden}
    return lopt.create(case.optimizer, jax.random.key(0), **options)


def make_dynamics(case: Case) -> Dynamics:
    """Return a case's inner training."""
    return InnerTraining(ImageMLP(random_images(SIDES[case.task]), batch_sizes=(case.batch, case.batch)))


def random_images(side: int) -> Dataset:
    """Return 10,000 random images in 10 classes; speed depends only on shapes."""
    draw = np.random.default_rng(0).integers
    images = jnp.asarray(draw(0, 256, (10_000, side, side, 1), dtype=np.uint8))
    labels = jnp.asarray(draw(0, 10, 10_000), jnp.int32)
    return Dataset(
        images=dict.fromkeys(SPLITS, images),
        labels=dict.fromkeys(SPLITS, labels),
        name="random",
        num_classes=10,
        mean=0.5,
        std=0.29,
    )

"""The host's part of meta-training: a loop that yields records."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .build import Parts, build
from .checkpoints import Checkpoints
from .config import RunConfig
from .hysteresis import make_hysteresis_probe
from .run_directory import RunDirectory
from .step import init_run, make_meta_step
from .unroll import advance, start


class Record(NamedTuple):
    """What a call of the meta-step gave."""

    meta_step: int
    """Meta-steps done."""
    values: dict[str, float]


class DivergedError(RuntimeError):
    """Theta is no longer finite."""


class Trainer:
    """A meta-training run, resumed from the newest checkpoint of its directory where there is one.

    Args:
        config: what to run.
        directory: where; claimed already (`RunDirectory.open`).
        parts: what `build(config)` gave, where that was done already.
    """

    def __init__(self, config: RunConfig, directory: RunDirectory, parts: Parts | None = None) -> None:
        parts = parts or build(config)
        self._config, self._parts = config, parts
        self._state, self._particles = init_run(
            parts.dynamics, parts.estimator, parts.outer, parts.population, parts.theta, parts.key
        )
        self._checkpoints = Checkpoints(directory.checkpoints)
        if self._checkpoints.latest() is not None:
            self._state, self._particles = self._checkpoints.restore(self._state, self._particles)
        self.meta_step = int(self._state.meta_step)
        """Meta-steps done."""
        self._step = make_meta_step(parts.estimator, parts.outer, parts.population, config.particle_clip)
        self._validate = make_validation(parts, config.validation_episodes)
        self._replayed = min(config.hysteresis_particles, config.particles)
        self._probe = make_hysteresis_probe(parts.estimator, self._replayed)
        self._clock = _Clock(config.particles * parts.estimator.steps_per_window)

    @property
    def theta(self) -> Any:
        """The present theta: a learned optimizer."""
        return self._state.theta

    def records(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        """Run until the configured number of meta-steps, or until `stop` says so; save at the end.

        Yields:
            A record per call of the meta-step, and one of theta at the start. Each is fetched after the next
            call was dispatched, so that the device never waits for the host.

        Raises:
            DivergedError: when theta is no longer finite; the newest checkpoint is older.
        """
        config = self._config
        if self.meta_step == 0:
            yield Record(0, self._validate(self._state.theta))
        pending = None
        while self.meta_step < config.steps and not stop():
            count = min(config.steps_per_call, config.steps - self.meta_step)
            dispatched = self._call(count)
            if pending is not None:
                yield self._record(*pending)
            pending = dispatched
            if self._due(config.checkpoint_every, count) or self._due(config.validate_every, count):
                yield self._pause(count, *pending)
                pending = None
        if pending is not None:
            yield self._record(*pending)
        self._checkpoints.save(self._state, self._particles)

    def close(self) -> None:
        """Wait for checkpoints in flight."""
        self._checkpoints.close()

    def _call(self, count: int) -> tuple[int, int, dict[str, Any]]:
        constants = (self._parts.dynamics, jnp.asarray(count, jnp.int32))
        self._state, self._particles, metrics = self._step(self._state, self._particles, constants)
        self.meta_step += count
        return self.meta_step, count, metrics

    def _record(self, meta_step: int, count: int, metrics: dict[str, Any]) -> Record:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not math.isfinite(values["theta_norm"]):
            raise DivergedError(
                f"theta is not finite at meta-step {meta_step}: start another run directory with a smaller "
                "--learning-rate or --gradient-clip"
            )
        return Record(meta_step, values | self._clock.rate(count))

    def _pause(self, count: int, *pending: Any) -> Record:
        """Finish a call's record, then validate and save; none of that counts as time for inner steps."""
        record = self._record(*pending)
        values = record.values
        if self._due(self._config.validate_every, count):
            values = values | self._validate(self._state.theta) | self._hysteresis()
        if self._due(self._config.checkpoint_every, count):
            self._checkpoints.save(self._state, self._particles)
        self._clock.restart()
        return Record(record.meta_step, values)

    def _hysteresis(self) -> dict[str, float]:
        if self._replayed == 0:
            return {}
        members = jax.tree.map(lambda x: x[: self._replayed], self._particles)
        # On one device, like the validation.
        run, members = jax.device_put((self._state, members), jax.devices()[0])
        return {"hysteresis": float(self._probe(run, members, self._parts.dynamics))}

    def _due(self, every: int, count: int) -> bool:
        """Tell whether the last call passed a multiple of `every`, or was the run's last."""
        passed = self.meta_step // every > (self.meta_step - count) // every
        return passed or self.meta_step == self._config.steps


class _Clock:
    """Inner steps per second, from the second call on: the first one compiles.

    Args:
        inner_steps: inner steps per meta-step.
    """

    def __init__(self, inner_steps: int) -> None:
        self._inner_steps = inner_steps
        self._last: float | None = None

    def restart(self) -> None:
        self._last = time.perf_counter()

    def rate(self, meta_steps: int) -> dict[str, float]:
        last, now = self._last, time.perf_counter()
        self._last = now
        if last is None:
            return {}
        return {"inner_steps_per_second": meta_steps * self._inner_steps / (now - last)}


def make_validation(parts: Parts, episodes: int) -> Callable[[Any], dict[str, float]]:
    """Return a function of theta that judges it, unperturbed, on fixed episodes of the longest horizon."""
    estimator = parts.estimator
    horizon = estimator.horizon.bounds()[1]
    keys = jax.random.split(jax.random.fold_in(parts.key, np.uint32(2**32 - 1)), episodes)

    @jax.jit
    def run(theta: Any, dynamics: Any) -> dict[str, jax.Array]:
        def episode(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            start_key, advance_key = jax.random.split(key)
            begun = start(dynamics, theta, jnp.asarray(horizon, jnp.int32), start_key)
            ended, _ = advance(dynamics, estimator.objective, theta, begun, horizon, advance_key)
            return ended.objective, ended.diverged

        objectives, diverged = jax.vmap(episode)(keys)
        return {"valid_objective": jnp.mean(objectives), "valid_diverged": jnp.mean(diverged)}

    def validate(theta: Any) -> dict[str, float]:
        # On one device: a replicated theta would make every device repeat the work.
        values = run(jax.device_put(theta, jax.devices()[0]), parts.dynamics)
        return {name: float(value) for name, value in values.items()}

    return validate

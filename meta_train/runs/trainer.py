"""The host loop of meta-training, which yields records."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..config.run import Run
from ..host.processes import any_of, is_main
from ..host.robustness import Watch
from ..host.timing import Clock
from ..population.step import init_run, make_meta_step
from ..trackers.metrics import INNER_STEPS, SECONDS, VALID_OBJECTIVE, grouped
from ..trackers.values import Value
from .checkpoints import Checkpoints
from .directory import RunDirectory
from .evaluation import Evaluation
from .feed import Feed
from .parts import Parts, build


class Record(NamedTuple):
    """The results of a call of the meta-step."""

    meta_step: int
    """Meta-steps done."""
    values: dict[str, Value]
    """Values by the names in `metrics.METRICS`."""


class _Call(NamedTuple):
    """A dispatched call of the meta-step."""

    meta_step: int
    count: int
    metrics: dict[str, Any]


def tell(message: str) -> None:
    """Print a warning, in one process of a job."""
    if is_main():
        print(f"lopt-train: warning: {message}", file=sys.stderr, flush=True)


class Trainer:
    """A meta-training run, resumed from the newest checkpoint of its directory if there is one.

    Every process of a job creates one and iterates over its records.

    Args:
        run: the run.
        directory: its directory, already opened (`RunDirectory.open`).
        parts: the result of `build(run)`, if it exists already.
        run_id: the run's id, stored in checkpoints.
        warn: called with messages that don't stop the run.

    Raises:
        CheckpointError: if there are checkpoints, and none can be restored.
    """

    def __init__(
        self,
        run: Run,
        directory: RunDirectory,
        parts: Parts | None = None,
        run_id: str = "",
        warn: Callable[[str], None] = tell,
    ) -> None:
        parts = parts or build(run.kept_in(directory.path))
        self._loop, self._run_id = run.loop, run_id
        self._state, self._particles = init_run(
            parts.dynamics, parts.estimator, parts.outer, parts.mixture, parts.theta, parts.key, parts.part
        )
        self._feed = Feed(parts.dynamics, parts.mixture.devices, run.loop.steps)
        self._checkpoints = Checkpoints(directory.checkpoints, run.loop.keep_last, run.loop.keep_hours, warn)
        restored = self._checkpoints.restore(self._state, self._particles)
        if restored is not None:
            self._state, self._particles = restored
        self._began = time.monotonic() - self._checkpoints.about().get("seconds", 0.0)
        self.meta_step = int(self._state.meta_step)
        """Meta-steps done."""
        clips = run.particle_bound, run.method.gradient_clip
        self._step = make_meta_step(parts.estimator, parts.outer, parts.mixture, *clips, parts.part)
        self._inner_steps = parts.mixture.particles * parts.estimator.steps_per_window
        self._evaluation = Evaluation(run, parts, directory)
        self._valid: float | None = None
        self._best = self._checkpoints.best()
        self._saved_at = time.monotonic()
        self._clock = Clock(self._inner_steps, run.loop.steps)
        self._watch = Watch(warn)

    @property
    def theta(self) -> Any:
        """The current theta."""
        return self._state.theta

    def records(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        """Run until the configured number of meta-steps, or until `stop` is true in any process; then save.

        Yields:
            A record per call of the meta-step, and one of the initial theta. Each is fetched after the next
            call was dispatched, so the device never waits for the host, and yielded before its theta is
            saved, so no checkpoint is ahead of the log.

        Raises:
            DivergedError: if theta has not been updated for long; the newest checkpoint is older.
            CheckpointError: if a checkpoint can't be written.
            UsageError: if streamed data have other shapes than before.
        """
        if self.meta_step == 0:
            yield Record(0, self._evaluate() | {SECONDS.name: self._seconds()})
        pending: _Call | None = None
        while True:
            stopping, save = any_of((stop(), self._save_due()))
            over = self.meta_step >= self._loop.steps
            if pending is not None:
                save |= _passed(pending, self._loop.checkpoint_every)
                validate = over or _passed(pending, self._loop.validate_every)
                if stopping or over or save or validate:
                    yield self._record(pending, validate)
                    pending = None
            if stopping or over:
                break
            if save or self._is_best():
                self._save()
            dispatched = self._call()
            if pending is not None:
                yield self._record(pending)
            pending = dispatched
        self._save()

    def close(self) -> None:
        """Wait for checkpoints in flight, and for data that is being read.

        Raises:
            CheckpointError: if one can't be written.
        """
        self._feed.close()
        self._checkpoints.close()

    def _call(self) -> _Call:
        count = min(self._loop.steps_per_call, self._loop.steps - self.meta_step)
        count = self._feed.allowed(self.meta_step, count)
        constants = (self._feed.at(self.meta_step), jnp.asarray(count, jnp.int32))
        # On some devices, donated buffers make a call wait for the one before.
        with self._clock.waiting():
            self._state, self._particles, metrics = self._step(self._state, self._particles, constants)
        self.meta_step += count
        self._valid = None
        return _Call(self.meta_step, count, metrics)

    def _record(self, call: _Call, validate: bool = False) -> Record:
        with self._clock.waiting():
            values = {name: float(value) for name, value in jax.device_get(call.metrics).items()}
        self._watch.see(call.meta_step, call.count, values)
        found: dict[str, Value] = {**values, INNER_STEPS.name: float(call.meta_step * self._inner_steps)}
        found |= self._clock.read(call.meta_step)
        values = grouped(found) | (self._evaluate() if validate else {})
        return Record(call.meta_step, values | {SECONDS.name: self._seconds()})

    def _seconds(self) -> float:
        """Return the seconds since the run began, over all its sessions."""
        return round(time.monotonic() - self._began, 1)

    def _evaluate(self) -> dict[str, Value]:
        """Evaluate the current theta; this does not count as time for inner steps."""
        with self._clock.aside("validation_seconds"):
            values = self._evaluation(self._state, self._particles)
        self._valid = float(values[VALID_OBJECTIVE.name])  # type: ignore[arg-type]
        return values

    def _save_due(self) -> bool:
        """Return whether it is time to save, by the clock of process 0."""
        every = self._loop.checkpoint_seconds
        return is_main() and every > 0 and time.monotonic() - self._saved_at >= every

    def _is_best(self) -> bool:
        return self._valid is not None and self._valid < self._best

    def _save(self) -> None:
        with self._clock.aside("checkpoint_seconds"):
            about = {"id": self._run_id, "seconds": self._seconds()}
            self._checkpoints.save(self.meta_step, self._state, self._particles, about, self._valid)
        if self._is_best() and self._valid is not None:
            self._best = self._valid
        self._saved_at = time.monotonic()


def _passed(call: _Call, every: int) -> bool:
    """Return whether a call passed a multiple of `every`; 0 means never."""
    return every > 0 and call.meta_step // every > (call.meta_step - call.count) // every

"""Checkpoints of a run: a thin layer over orbax, which almost no other module uses.

A checkpoint holds the complete training state: theta, the outer optimizer, every particle, the key and the
meta-step; and the run's id. Saves are asynchronous; an error in one is raised at the next. Every process of a
job calls every method.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from ..host.checksums import damage, has_checksums, write_checksums
from ..host.processes import from_main, is_main
from ..population.phases import MetaState
from .files import steps_in
from .literal_path import literal
from .lost_checkpoints import mark

Warn = Callable[[str], None]
SCORE = "valid_objective"
"""The metric by which checkpoints are compared."""


class CheckpointError(RuntimeError):
    """A checkpoint can't be written, or none can be restored."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: the directory of the checkpoints; created if necessary.
        keep_last: number of newest checkpoints to keep; the best by validation is kept, too.
        keep_hours: hours between checkpoints that are kept permanently; 0 for none.
        warn: called with a message if a damaged checkpoint is set aside.
    """

    def __init__(self, directory: Path, keep_last: int, keep_hours: float, warn: Warn) -> None:
        self._directory, self._warn = directory.resolve(), warn
        self._options = _options(keep_last, keep_hours, self._before_commit)
        self._saving: int | None = None
        if is_main():
            self._set_damaged_aside()
        from_main(0)  # the other processes wait until that is done
        self._manager = ocp.CheckpointManager(literal(self._directory), options=self._options)

    def latest(self) -> int | None:
        """Return the meta-step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def best(self) -> float:
        """Return the lowest validation objective of a checkpoint; infinity if there is none."""
        step = self._manager.best_step()
        metrics = None if step is None else self._manager.metrics(step)
        return math.inf if not metrics else metrics[SCORE]

    def save(
        self,
        meta_step: int,
        state: MetaState,
        particles: Any,
        about: dict[str, Any],
        valid: float | None = None,
    ) -> None:
        """Save in the background; the arrays may be donated immediately.

        Args:
            meta_step: the checkpoint's name.
            state: the run's state.
            particles: its particles.
            about: further information about the run, as JSON.
            valid: validation objective of this theta, if it was measured.

        Raises:
            CheckpointError: if this save, or the one before, can't be written.
        """
        if meta_step == self.latest():
            return
        items = ocp.args.Composite(
            run=ocp.args.StandardSave({"run": state, "particles": particles}), about=ocp.args.JsonSave(about)
        )
        metrics = None if valid is None or not math.isfinite(valid) else {SCORE: valid}
        with _told(self._directory):
            self._finish_saving()
            self._saving = meta_step
            self._manager.save(meta_step, args=items, metrics=metrics, force=True)

    def restore(self, state: MetaState, particles: Any) -> tuple[MetaState, Any] | None:
        """Restore the newest sound checkpoint, with the structure, dtypes and placement of the given trees.

        A damaged one is set aside with a warning, and the previous one is used.

        Returns:
            The state and the particles, or None if there is no checkpoint at all.

        Raises:
            CheckpointError: if there are checkpoints and none can be restored, or an intact one can't be.
        """
        abstract = jax.tree.map(shape_of, {"run": state, "particles": particles})
        failed = None
        while (step := self.latest()) is not None:
            try:
                items = ocp.args.Composite(run=ocp.args.StandardRestore(abstract))
                restored = self._manager.restore(step, args=items)["run"]
                return restored["run"], restored["particles"]
            except Exception as error:  # orbax raises bare exceptions on damaged files
                if has_checksums(self._directory / str(step)):
                    # The checksums were right: neither this checkpoint nor earlier ones are damaged.
                    raise CheckpointError(
                        f"checkpoint {step} of {self._directory.parent} is intact, but can't be restored: "
                        f"{reason(error)}; it may be from another version"
                    ) from error
                failed = error
                self._set_aside(step, reason(error))
                if jax.process_count() > 1:
                    # The other processes may have read it and be waiting: end, and restart without it.
                    raise CheckpointError(f"checkpoint {step} is damaged: start the job again") from error
                self._reload()
        if failed is not None or self._aside().exists():
            raise CheckpointError(
                f"no checkpoint of {self._directory.parent} can be restored; the damaged ones are in "
                f"{self._aside()}: put a copy back, or take another --run-dir"
            ) from failed
        return None

    def about(self) -> dict[str, Any]:
        """Return the information in the newest checkpoint about its run; empty if there is none."""
        if self.latest() is None:
            return {}
        return self._manager.restore(None, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]

    def close(self) -> None:
        """Wait for the save in flight, and close.

        Raises:
            CheckpointError: if it can't be written.
        """
        with _told(self._directory):
            self._finish_saving()
            self._manager.close()  # orbax raises what it kept of a save that failed

    def _finish_saving(self) -> None:
        self._manager.wait_until_finished()
        if is_main() and steps_in(self._directory):
            mark(self._directory, saved=True)

    def _reload(self) -> None:
        self._manager.close()
        self._manager = ocp.CheckpointManager(literal(self._directory), options=self._options)

    def _before_commit(self) -> None:
        """Write checksums into the new checkpoint, which still has its temporary name."""
        written = self._directory / f"{self._saving}.orbax-checkpoint-tmp"
        if is_main() and written.is_dir():
            write_checksums(written)

    def _set_damaged_aside(self) -> None:
        for step in reversed(steps_in(self._directory)):
            wrong = damage(self._directory / str(step))
            if wrong is None:
                return
            self._set_aside(step, wrong)

    def _set_aside(self, step: int, why: str) -> None:
        aside = self._aside() / f"{step}-{time.time_ns() // 10**9}"
        aside.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process was faster
            (self._directory / str(step)).rename(aside)
        self._warn(f"checkpoint {step} is damaged ({why}): it is now {aside}, and the previous one is used")

    def _aside(self) -> Path:
        return self._directory.parent / "damaged"


def _options(keep_last: int, keep_hours: float, before_commit: Callable[[], None]) -> Any:
    policies = ocp.checkpoint_managers
    score = lambda metrics: metrics[SCORE]  # noqa: E731
    best = policies.BestN(get_metric_fn=score, reverse=True, n=1, keep_checkpoints_without_metrics=False)
    kept = [policies.LatestN(keep_last), best]
    if keep_hours:
        kept.append(policies.EveryNSeconds(int(3600 * keep_hours)))
    return ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy(kept),
        best_fn=score,
        best_mode="min",
        cleanup_tmp_directories=True,
        async_options=ocp.AsyncOptions(post_finalization_callback=before_commit),
    )


@contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Turn errors of orbax while writing into a CheckpointError of one sentence."""
    try:
        yield
    except Exception as error:
        steps = steps_in(directory)
        newest = f"the newest intact one is {steps[-1]}" if steps else "there is no older one"
        raise CheckpointError(
            f"a checkpoint can't be written to {directory}: {reason(error)}; {newest}"
        ) from error


def reason(error: BaseException) -> str:
    """Return a short form of an error; orbax's messages have many lines."""
    text = str(error)
    if "No space left on device" in text or "RESOURCE_EXHAUSTED" in text:
        return "no space is left on the device"
    return (text.splitlines() or [type(error).__name__])[0][:200]


def shape_of(x: jax.Array, sharding: Any = None) -> jax.ShapeDtypeStruct:
    """Return an array's shape and dtype, with its own sharding or another."""
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding)

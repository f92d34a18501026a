"""A run's directory: `config.json`, `metrics.jsonl`, `checkpoints/`, `run.json`, `lock.json`."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

import lopt
from lopt import LearnedOptimizer

from ..config.build import make_estimator, make_theta
from ..config.run import RunConfig, differences
from ..host.provenance import provenance
from .checkpoints import read_about, restore_theta
from .files import belongs_to_run, one_line, read_whole, write_whole
from .lock import holder, this_process


class RunDirectoryError(RuntimeError):
    """A run directory can't be used as asked."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The run's configuration."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One line of JSON per record."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Where orbax keeps the checkpoints."""
        return self.path / "checkpoints"

    @property
    def identity(self) -> Path:
        """The run's id and provenance."""
        return self.path / "run.json"

    @property
    def reference(self) -> Path:
        """The tuned Adam that the run is compared with."""
        return self.path / "reference.json"

    @property
    def lock(self) -> Path:
        """Who trains here at present, or did last."""
        return self.path / "lock.json"

    def check(self, config: RunConfig) -> None:
        """Check that a configuration may run here; touch nothing.

        Raises:
            RunDirectoryError: when the directory holds another configuration, or something that is not a run.
        """
        try:
            names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        except OSError as error:
            raise RunDirectoryError(f"{self.path} can't be read: {error.strerror}") from error
        if self.config.name in names:
            try:
                held = self.read_config()
            except RunDirectoryError as error:
                raise RunDirectoryError(f"{error}; take another --run-dir") from error
            changed = differences(held, config)
            if changed:
                raise RunDirectoryError(
                    f"{self.path} holds another run: {'; '.join(changed)}. Take the old values, "
                    "or another --run-dir"
                )
        elif names - {"lock.json", "config.tmp"}:
            raise RunDirectoryError(
                f"{self.path} is not empty and holds no lopt run (no config.json): take another --run-dir"
            )

    def open(self, config: RunConfig, command: str) -> str:
        """Claim the directory for a configuration, or take it up again.

        Returns:
            The run's id.

        Raises:
            RunDirectoryError: as `check` does, and when the directory can't be made.
        """
        self.check(config)
        self._make()
        write_whole(self.config, config.to_json())
        if not self.identity.is_file():
            known = read_about(self.checkpoints) or {"id": secrets.token_hex(4)}
            identity = {"id": known["id"]} | provenance(command)
            write_whole(self.identity, json.dumps(identity, indent=2) + "\n")
        return self.read_identity()["id"]

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Keep other processes from training here, until the end or this process's death.

        Raises:
            RunDirectoryError: when another process does; says who.
        """
        self._make()
        with self.lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunDirectoryError(f"{self.path} is in use by {holder(file)}") from error
            except OSError as error:
                raise RunDirectoryError(
                    f"{self.lock} can't be locked ({error.strerror}): take a --run-dir on a file system with "
                    "locks"
                ) from error
            file.truncate(0)
            json.dump(this_process(command), file, indent=2)
            file.flush()
            yield

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(f"{self.path} can't be made: {error.strerror}") from error

    def read_config(self) -> RunConfig:
        """Read the run's configuration.

        Raises:
            RunDirectoryError: when there is none, or it is none.
        """
        try:
            return RunConfig.from_json(read_whole(self.config))
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path} is no run directory: it has no readable config.json ({error.strerror})"
            ) from error
        except ValueError as error:
            raise RunDirectoryError(f"{self.path} is no run directory: its config.json is {error}") from error

    def read_identity(self) -> dict[str, Any]:
        """Read the run's id and provenance.

        Raises:
            RunDirectoryError: when they are missing or damaged.
        """
        identity: Any = None
        try:
            identity = json.loads(read_whole(self.identity))
        except OSError as error:
            raise RunDirectoryError(f"{self.identity} can't be read: {error.strerror}") from error
        except (ValueError, RecursionError):
            pass  # it is damaged
        devices = identity.get("devices", []) if isinstance(identity, dict) else None
        # Reports print them, after hours of work.
        if not isinstance(devices, list) or not all(isinstance(d, str) and d.isprintable() for d in devices):
            raise RunDirectoryError(f"{self.identity} is damaged: it does not say where the run comes from")
        return identity


def load_run_optimizer(run_dir: str | Path, step: int | None = None, best: bool = False) -> LearnedOptimizer:
    """Return the learned optimizer of a run; the arguments are those of `read_run`."""
    return read_run(run_dir, step, best)[0]


def read_run(
    run_dir: str | Path, step: int | None = None, best: bool = False
) -> tuple[LearnedOptimizer, dict[str, Any]]:
    """Return the learned optimizer of a run, and where it comes from.

    Args:
        run_dir: what `lopt-train` wrote.
        step: meta-step of the checkpoint to take theta from; None for the newest.
        best: take the best checkpoint by validation instead.

    Returns:
        The optimizer and its provenance: what `provenance` gives, the tasks, the estimator, the horizon
        (least and most inner steps), and what it took up to that checkpoint: meta-steps, inner steps and
        seconds.

    Raises:
        RunDirectoryError: when it is no run directory.
        CheckpointError: when it holds no checkpoint.
        ValueError: when its optimizer or estimator is not registered, with where to find it.
    """
    run = RunDirectory(Path(run_dir))
    config, identity = run.read_config(), run.read_identity()
    try:
        estimator = make_estimator(config)
        # Theta's structure alone: neither the run's data nor its devices need be on this machine.
        theta = make_theta(config, jax.random.key(config.seed))
    except ValueError as error:
        own = "; it was trained with --import: the same files are needed here"
        hint = own if "--import" in str(identity.get("command")) else ""
        raise ValueError(f"{run_dir} can't be read: {error}{hint}") from error
    optimizer, meta_step = restore_theta(run.checkpoints, theta, step, best)
    about = read_about(run.checkpoints, meta_step) or {}
    origin = {key: value for key, value in identity.items() if key != "id"}
    return optimizer, origin | {
        "tasks": list(config.task),
        **({"task_weights": list(config.weights)} if config.task[1:] else {}),
        "estimator": config.estimator,
        "horizon": list(estimator.horizon.bounds()),
        "meta_steps": meta_step,
        "inner_steps": meta_step * sum(config.populations) * estimator.steps_per_window,
        "seconds": about.get("seconds"),
    }


def export_run(run_dir: str | Path, out_dir: str | Path, step: int | None = None, best: bool = False) -> Path:
    """Publish a run's learned optimizer: `config.json` with its provenance, and `theta.safetensors`.

    Args:
        run_dir: as for `read_run`, like the rest.
        out_dir: where to; a directory of its own, which may be inside the run's.
        step: likewise.
        best: likewise.

    Raises:
        RunDirectoryError: when `out_dir` is the run's own.
        lopt.PublishedOptimizerError: when it holds something else, or can't be written.
    """
    if belongs_to_run(Path(run_dir), Path(out_dir)):
        other = Path(run_dir, "optimizer")
        raise RunDirectoryError(f"{out_dir} belongs to the run {run_dir}: take another OUT_DIR, {other} say")
    optimizer, origin = read_run(run_dir, step, best)
    return lopt.save(optimizer, out_dir, origin)

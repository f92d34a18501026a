"""A run's directory: `config.json`, `metrics.jsonl`, `checkpoints/`, `run.json`, `lock.json`."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lopt import UsageError, plain

from ..config.differences import differences
from ..config.files import is_older, run_from_json
from ..config.json_form import run_to_json
from ..config.run import Run
from ..host.files import is_run_id, read_object, read_whole, write_whole, writing
from ..host.provenance import provenance
from .files import steps_in
from .lock import holder, open_lock, this_process
from .lost_checkpoints import are_lost, mark
from .stored_theta import read_about


class RunDirectoryError(UsageError, RuntimeError):
    """A run directory can't be used as asked."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(message, 1000))


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
        """The directory of orbax's checkpoints."""
        return self.path / "checkpoints"

    @property
    def identity(self) -> Path:
        """The run's id and provenance."""
        return self.path / "run.json"

    @property
    def reference(self) -> Path:
        """The results of tuned Adam that the run is compared with."""
        return self.path / "reference.json"

    @property
    def lock(self) -> Path:
        """The process that trains here, or the last one that did."""
        return self.path / "lock.json"

    def check(self, run: Run) -> None:
        """Check that a configuration may run here, without changing anything.

        Raises:
            RunDirectoryError: if the directory holds another configuration, or something that is not a run.
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
            if is_older(read_whole(self.config)):
                raise RunDirectoryError(
                    f"{self.path} was started by an older version of lopt: lopt-export and lopt-eval can "
                    "read it, but it can't be resumed; take another --run-dir"
                )
            changed = differences(held, run)
            if changed:
                raise RunDirectoryError(
                    f"{self.path} holds another run: {'; '.join(changed)}. Take the old values, "
                    "or another --run-dir"
                )
            self._check_checkpoints()
        elif names - {"lock.json", "config.tmp"}:
            raise RunDirectoryError(
                f"{self.path} is not empty and holds no lopt run (no config.json): take another --run-dir"
            )

    def _check_checkpoints(self) -> None:
        """Refuse to start a run over, which would delete its metrics, because its checkpoints are gone."""
        damaged = self.path / "damaged"  # `Checkpoints.restore` reports those
        if damaged.exists() or steps_in(self.checkpoints) or not are_lost(self.checkpoints, self.metrics):
            return
        raise RunDirectoryError(
            f"{self.path} holds a run that has done meta-steps but has no checkpoint: restore "
            f"{self.checkpoints}, mount it, or take another --run-dir"
        )

    def open(self, run: Run, command: str) -> str:
        """Claim the directory for a configuration, or reopen it.

        Returns:
            The run's id.

        Raises:
            RunDirectoryError: as in `check`, and if the directory can't be created.
        """
        self.check(run)
        self._make()
        try:
            self._write_claim(run, command)
        except OSError as error:
            place = error.filename or self.path
            raise RunDirectoryError(f"{place} can't be written: {error.strerror}") from error
        return self.read_id()

    def _write_claim(self, run: Run, command: str) -> None:
        write_whole(self.config, run_to_json(run))  # first, because it marks the directory as a run's
        mark(self.checkpoints, saved=bool(steps_in(self.checkpoints)))
        if not os.path.lexists(self.identity):
            known = (read_about(self.checkpoints) or {}).get("id")
            identity = {"id": known if is_run_id(known) else secrets.token_hex(4)} | provenance(command)
            write_whole(self.identity, json.dumps(identity, indent=2) + "\n")

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Keep other processes from training here, until the context or this process ends.

        Raises:
            RunDirectoryError: if another process trains here; the message says which.
            UnwritableError: if the lock's file can't be written.
        """
        self._make()
        try:
            opened = open_lock(self.lock)
        except OSError as error:
            raise RunDirectoryError(f"{self.lock} can't be opened ({error.strerror}): remove it") from error
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunDirectoryError(f"{self.path} is in use by {holder(file)}") from error
            except OSError as error:
                raise RunDirectoryError(
                    f"{self.lock} can't be locked ({error.strerror}): take a --run-dir on a file system with "
                    "locks"
                ) from error
            with writing(self.lock):
                file.seek(0)
                file.truncate()
                json.dump(this_process(command), file, indent=2)
                file.flush()
            yield

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(f"{self.path} can't be created: {error.strerror}") from error

    def read_config(self) -> Run:
        """Read the run's configuration.

        Raises:
            RunDirectoryError: if it is missing, or is not the configuration of a run.
        """
        try:
            return run_from_json(read_whole(self.config))
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path} is not a run directory: it has no readable config.json ({error.strerror})"
            ) from error
        except ValueError as error:
            raise RunDirectoryError(
                f"{self.path} is not a run directory: its config.json is {error}{self.import_hint()}"
            ) from error

    def import_hint(self) -> str:
        """Return a hint that --import may be missing, if the run was trained with it; otherwise ""."""
        try:
            own = "--import" in read_whole(self.identity)
        except (OSError, ValueError):
            own = False
        return "; it was trained with --import: the same files are needed here" if own else ""

    def read_identity(self) -> dict[str, Any]:
        """Read the run's id and provenance.

        Raises:
            RunDirectoryError: if they are missing or damaged.
        """
        identity = read_object(self.identity)
        devices = None if identity is None else identity.get("devices", [])
        # Reports print them after hours of work, so they are checked here.
        if not isinstance(devices, list) or not all(isinstance(d, str) and d.isprintable() for d in devices):
            raise self._damaged_identity()
        return identity or {}

    def read_id(self) -> str:
        """Read the run's id, eight hexadecimal digits.

        Raises:
            RunDirectoryError: if it is missing or damaged.
        """
        found = self.read_identity().get("id")
        if not is_run_id(found):
            raise self._damaged_identity()
        return found

    def _damaged_identity(self) -> RunDirectoryError:
        try:
            read_whole(self.identity)
        except OSError as error:
            return RunDirectoryError(f"{self.identity} can't be read: {error.strerror}")
        except ValueError:
            pass
        return RunDirectoryError(
            f"{self.identity} is damaged: it does not say where the run comes from; remove it, and "
            "lopt-train makes it again"
        )

"""W&B's own files of a run's earlier sessions on this machine."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER = 7  # bytes; the file's size before W&B has written any record
_PATIENCE = 120.0  # seconds; reading takes about 0.3 ms a record


class Session(NamedTuple):
    """The contents of a session's file."""

    last_step: float
    """The last meta-step that was logged; minus infinity if there is none."""
    whole: bool
    """Whether the file can be read to its end. Otherwise `wandb sync` stops at it, and sends none of the same
    run's later sessions."""


def find_sessions(directory: Path, run_id: str) -> list[Path]:
    """List the files of a run's sessions under `directory`, oldest first."""
    files = directory.glob(f"wandb/*run-*/run-{run_id}.wandb")
    return sorted(files, key=lambda file: file.parent.name.removeprefix("offline-"))


def is_offline(file: Path) -> bool:
    """Return whether a session's file waits for `wandb sync`: it is offline, and no sync has started."""
    return file.parent.name.startswith("offline-") and not any(
        file.with_name(file.name + mark).exists() for mark in (".synced", ".syncstate")
    )


def read_session(file: Path) -> Session:
    """Read a session's file; one that can't be read counts as empty."""
    if file.stat().st_size <= _HEADER:
        return Session(-math.inf, whole=False)
    # W&B's own reader, because the format is private. -P, because a run's directory may hold `wandb/`.
    command = [sys.executable, "-P", "-m", "wandb", "leet", "inspect", "--json", str(file)]
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, timeout=_PATIENCE
            )
        except (OSError, subprocess.TimeoutExpired):
            return Session(-math.inf, whole=False)
        output.seek(0)
        steps = list(_steps(output))
    # It prints an error for a file that ends within a record, but its exit status is 0.
    whole = done.returncode == 0 and not done.stderr.strip()
    return Session(max(steps, default=-math.inf), whole)


def _steps(lines: Iterator[bytes]) -> Iterator[float]:
    for line in lines:
        if b'"type":"history"' in line:
            step = json.loads(line)["history"]["item"].get("meta_step")
            if step is not None:
                yield step


def last_offline_step(files: list[Path]) -> float:
    """Return the last meta-step in a run's earlier sessions, if they are synced in order.

    A killed session is set aside unless its file is complete; its records will be sent again.

    Args:
        files: the sessions' files, oldest first.
    """
    for file in reversed(files):
        session = read_session(file)
        if not session.whole and is_offline(file):
            set_aside(file)
        elif session.last_step > -math.inf:
            return session.last_step
    return -math.inf


def set_aside_beyond(files: list[Path], step: float) -> None:
    """Set aside offline sessions with meta-steps beyond `step`, which will be sent again.

    Args:
        files: the sessions' files.
        step: the last meta-step that the server has.
    """
    for file in filter(is_offline, files):
        session = read_session(file)
        if not session.whole or session.last_step > step:
            set_aside(file)


def set_aside(file: Path) -> None:
    """Move a session to a folder that `wandb sync` ignores."""
    folder = file.parent
    target = folder.parent / "superseded" / folder.name
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)

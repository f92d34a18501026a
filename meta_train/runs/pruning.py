"""Removes old checkpoints of a run that nobody trains."""

from __future__ import annotations

import dataclasses
import fcntl
import math
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lopt import UsageError

from ..host.checksums import damage
from ..host.files import read_object
from .files import size_of, steps_in
from .liveness import is_running
from .lock import open_lock
from .summary import summarize_run

_UNFINISHED = ".orbax-checkpoint-tmp"
_SCORE = "valid_objective"


@dataclasses.dataclass(frozen=True)
class Pruning:
    """What is removed from a run, and what is kept.

    Attributes:
        run_dir: the run's directory.
        removed: the directories to remove.
        kept: meta-steps of the checkpoints that stay.
        size: bytes of what is removed.
    """

    run_dir: Path
    removed: tuple[Path, ...]
    kept: tuple[int, ...]
    size: int


def plan_pruning(run_dir: str | Path, keep_last: int = 1) -> Pruning:
    """Choose the checkpoints to remove: all but the newest intact ones, and the best by validation.

    Saves that were never finished are removed, too. Nothing is changed.

    Args:
        run_dir: the run's directory.
        keep_last: number of newest intact checkpoints to keep.

    Raises:
        UsageError: if it is not a run's, it runs, or `keep_last` is below 1.
    """
    if keep_last < 1:
        raise UsageError(f"--keep-last must be at least 1, not {keep_last}: a run resumes from its newest")
    one = summarize_run(run_dir)
    if one.state == "running":
        raise UsageError(f"{run_dir} is running: stop it first")
    checkpoints = one.path / "checkpoints"
    steps = steps_in(checkpoints)
    kept: set[int] = set()
    for step in reversed(steps):
        if len(kept) < keep_last and damage(checkpoints / str(step)) is None:
            kept.add(step)
    if not kept:
        return Pruning(one.path, (), tuple(steps), 0)  # none is intact: leave them to the reader
    scores = {step: _score(checkpoints / str(step)) for step in steps}
    best = min(scores, key=lambda step: (scores[step], -step))
    if math.isfinite(scores[best]):
        kept.add(best)
    removed = [checkpoints / str(step) for step in steps if step not in kept]
    removed += sorted(path for path in checkpoints.iterdir() if _is_unfinished(path))
    return Pruning(one.path, tuple(removed), tuple(sorted(kept)), sum(map(size_of, removed)))


def prune(plan: Pruning) -> None:
    """Remove what a plan says, with the run's lock held, so that it can't be resumed meanwhile.

    Raises:
        UsageError: if a process trains there now, or something can't be removed.
    """
    with _locked(plan.run_dir):
        for path in plan.removed:
            if path.parent != plan.run_dir / "checkpoints" or path.is_symlink():
                raise UsageError(f"{path} is not a checkpoint of {plan.run_dir}, and is left")
            # Under a name that is no checkpoint's, so that an interruption leaves none half removed.
            aside = path if _is_unfinished(path) else path.with_name(path.name + _UNFINISHED)
            try:
                path.rename(aside)
                shutil.rmtree(aside)
            except OSError as error:
                raise UsageError(f"{path} can't be removed: {error.strerror}") from error


@contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Hold a run's lock without changing what it says."""
    try:
        opened = open_lock(run_dir / "lock.json")
    except OSError as error:
        raise UsageError(f"{run_dir / 'lock.json'} can't be opened ({error.strerror})") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{run_dir} is running: stop it first") from error
        if _is_running_elsewhere(run_dir):
            raise UsageError(f"{run_dir} is running on another machine: stop it first")
        yield


def _is_running_elsewhere(run_dir: Path) -> bool:
    """Return whether another machine trains in a run's directory; a lock may not reach that far."""
    who = read_object(run_dir / "lock.json") or {}
    return who.get("host", "") not in ("", socket.gethostname()) and is_running(run_dir)


def _score(checkpoint: Path) -> float:
    """Return a checkpoint's objective in the validation; infinity if it has none."""
    score = (read_object(checkpoint / "metrics" / "metrics") or {}).get(_SCORE)
    return float(score) if isinstance(score, (int, float)) and not math.isnan(score) else math.inf


def _is_unfinished(path: Path) -> bool:
    step, dot, rest = path.name.partition(".")
    return step.isascii() and step.isdigit() and f"{dot}{rest}" == _UNFINISHED

"""Tells whether a process trains in a run's directory, without touching its lock."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from ..host.files import read_object

FRESH = 600.0
"""Seconds without a change after which a run on another machine counts as stopped."""
_LOCKS = Path("/proc/locks")


def is_running(run_dir: Path) -> bool:
    """Return whether a process trains in a run's directory.

    On this machine the kernel's table of locks decides, where there is one, and else whether the process
    still exists. A run on another machine, on a shared disk, runs if one of its files changed within the last
    `FRESH` seconds. The lock itself is never taken: a run that starts at that moment would be refused.
    """
    lock = run_dir / "lock.json"
    who = read_object(lock)
    if who is None:
        return _is_locked(lock, None) or False
    pid, host = who.get("pid"), who.get("host")
    if isinstance(host, str) and host not in ("", socket.gethostname()):
        return time.time() - last_change(run_dir) < FRESH
    if type(pid) is not int or not 0 < pid < 2**31:
        return _is_locked(lock, None) or False
    locked = _is_locked(lock, pid)
    return _exists(pid) if locked is None else locked


def last_change(run_dir: Path) -> float:
    """Return when a run last wrote to its directory, in seconds since the epoch; 0 if it holds nothing."""
    times = [0.0]
    for name in ("metrics.jsonl", "lock.json", "checkpoints", "config.json"):
        with suppress(OSError):
            times.append((run_dir / name).stat().st_mtime)
    return max(times)


def _is_locked(lock: Path, pid: int | None) -> bool | None:
    """Return whether a process holds the lock, by the kernel's table; None if there is no table.

    Args:
        lock: the file.
        pid: the process; None for any.
    """
    try:
        table, inode = _LOCKS.read_text(), lock.stat().st_ino
    except OSError:
        return None if not _LOCKS.exists() else False
    for line in table.splitlines():
        fields = line.split()  # such as `1: FLOCK ADVISORY WRITE 1627 fe:00:2745242 0 EOF`
        if len(fields) < 6 or fields[1] not in ("FLOCK", "POSIX"):
            continue  # a process that waits has an arrow in the second place
        if fields[5].rpartition(":")[2] == str(inode) and pid in (None, _number(fields[4])):
            return True
    return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None

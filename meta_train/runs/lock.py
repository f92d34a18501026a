"""The contents of a run's lock: which process trains there."""

from __future__ import annotations

import datetime
import errno
import json
import os
import socket
import stat
from pathlib import Path
from typing import IO, Any

from ..host.home import user_name

_MOST = 2**20


def this_process(command: str) -> dict[str, Any]:
    """Return a description of this process and the current time, as JSON."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "user": user_name(),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
    }


def open_lock(path: Path) -> IO[str]:
    """Open or create a lock's file; a link or a pipe in its place is left alone.

    Raises:
        OSError: if it can't be opened, or is not a regular file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace")


def holder(file: IO[str]) -> str:
    """Return a description of the process that wrote a lock's file."""
    file.seek(0)
    try:
        who = json.loads(file.read(_MOST))
        return "process {pid} of {user} on {host}, since {since}: {command}".format(**who)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "another process"  # it has the lock, but has not written yet

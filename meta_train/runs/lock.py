"""What a run's lock says: which process trains there."""

from __future__ import annotations

import datetime
import json
import os
import socket
from typing import IO, Any

from ..host.home import user_name


def this_process(command: str) -> dict[str, Any]:
    """Return who this process is, and since when, as JSON."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "user": user_name(),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
    }


def holder(file: IO[str]) -> str:
    """Return in words who wrote a lock's file."""
    file.seek(0)
    try:
        who = json.loads(file.read())
        return "process {pid} of {user} on {host}, since {since}: {command}".format(**who)
    except (ValueError, KeyError, TypeError):  # it has the lock, and has not written yet
        return "another process"

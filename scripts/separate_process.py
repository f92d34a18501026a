"""Measurements in processes of their own, so that a failure or a hang loses only one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def start(script: Path, arguments: Any, limit: float, environment: dict[str, str]) -> dict[str, Any]:
    """Run `python SCRIPT JSON`; return the JSON of the last line it prints, or an error.

    Args:
        script: the script.
        arguments: its only argument, written as JSON.
        limit: seconds after which it and the processes that it started are stopped.
        environment: variables to set.

    Returns:
        The result, or a dict with the entry "error" (one line), and "log" if there is more to read.
    """
    command = [sys.executable, str(script), json.dumps(arguments)]
    done = run(command, limit, environment)
    if done.returncode is None:
        return {"error": f"given up after {limit:.0f} s", "log": done.stderr}
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        last = lines[-1] if lines else f"exit status {done.returncode}"
        return {"error": last, "log": done.stderr}
    return json.loads(done.stdout.splitlines()[-1])


class Finished:
    """What a process left: its output, and its exit status, or None if it was stopped."""

    def __init__(self, returncode: int | None, stdout: str, stderr: str) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


def run(command: list[str], limit: float, environment: dict[str, str]) -> Finished:
    """Run a command for at most `limit` seconds; stop it then, with all that it started."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=os.environ | environment,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return Finished(None, out, err)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Finished(process.returncode, out, err)

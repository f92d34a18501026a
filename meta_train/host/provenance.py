"""The provenance of a result: command, commit, versions, devices."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("lopt", "jax", "flax", "optax", "numpy")


def provenance(command: str) -> dict[str, Any]:
    """Return the command, the source's commit ("unknown" outside a checkout), versions and devices."""
    return {
        "command": command,
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "devices": [f"{len(jax.devices())} x {jax.devices()[0].device_kind}"],
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _commit() -> str:
    """Return the commit of this file, if git tracks it: an installed lopt may be in a user's repository."""
    here = Path(__file__).resolve()
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=12") or "unknown"
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()

"""Any theta in a directory: `theta.safetensors`, and a `config.json` that describes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from lopt import UsageError

from ..dynamics import Theta
from ..host.files import write_whole

FORMAT = "lopt-theta 1"


def named_arrays(theta: Theta) -> dict[str, np.ndarray]:
    """Return theta's leaves by their paths, such as "cell.kernel"; a single leaf is called "theta"."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(theta))
    named = ((jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves)
    return {name or "theta": np.array(leaf, order="C") for name, leaf in named}


def save_theta(
    theta: Theta,
    directory: Path,
    problem: str,
    about: dict[str, Any],
    origin: dict[str, Any],
    files: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write theta to a directory.

    Args:
        theta: a tree of arrays.
        directory: the target; created if necessary.
        problem: the registered name of its problem.
        about: the problem's description of itself, in JSON's types.
        origin: theta's provenance, in JSON's types.
        files: texts to write beside theta, by file name.

    Returns:
        The directory.

    Raises:
        OSError: if it can't be written.
        UsageError: if the directory holds something else, or theta is not finite.
    """
    arrays = named_arrays(theta)
    for name, array in arrays.items():
        if not np.all(np.isfinite(array)):
            raise UsageError(f"theta can't be published: {name} is not finite")
    directory.mkdir(parents=True, exist_ok=True)
    foreign = {path.name for path in directory.iterdir()} - {"config.json", "theta.safetensors", *files}
    if foreign:
        raise UsageError(f"{directory} holds {min(foreign)}: take another directory")
    weights = safetensors.numpy.save(arrays)
    config = {
        "format": FORMAT,
        "problem": problem,
        "about": about,
        "theta_sha256": hashlib.sha256(weights).hexdigest(),
        "provenance": origin,
    }
    write_whole(directory / "theta.safetensors", weights)
    for name, text in files.items():
        write_whole(directory / name, text)
    write_whole(directory / "config.json", json.dumps(config, indent=2) + "\n")
    return directory


def load_theta(directory: str | Path) -> dict[str, np.ndarray]:
    """Read a theta written by `save_theta`: its leaves by their paths.

    Raises:
        UsageError: if the directory holds no such theta, or one that was altered.
    """
    place = Path(directory)
    try:
        config = json.loads((place / "config.json").read_text())
        weights = (place / "theta.safetensors").read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{place} holds no theta: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UsageError(f"{place} holds no theta of this kind: its format is not {FORMAT!r}")
    if hashlib.sha256(weights).hexdigest() != config.get("theta_sha256"):
        raise UsageError(f"{place / 'theta.safetensors'} is truncated or was altered")
    return safetensors.numpy.load(weights)

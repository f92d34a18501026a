"""Published optimizers: a directory with `config.json` and `theta.safetensors`, and nothing executable.

`config.json` holds the format's number, the architecture's registered name, its static fields, the
provenance that the publisher gives (command, commit, tasks, inner steps, versions), and the SHA-256 of the
weights. Loading builds the architecture from the registry and fills its theta; nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from .base import LearnedOptimizer, static_fields
from .registry import architecture, architecture_name, create

FORMAT = 1
_CONFIG, _THETA = "config.json", "theta.safetensors"
_PACKAGE = Path(__file__).resolve().parent
_PUBLISHED = (_PACKAGE / "checkpoints", _PACKAGE.parent / "checkpoints")
"""Where published optimizers lie: in an installed wheel, and in a source tree."""


class PublishedOptimizerError(ValueError):
    """A directory does not hold a published optimizer that this version can load."""


def save(
    optimizer: LearnedOptimizer, directory: str | PathLike[str], provenance: Mapping[str, Any] | None = None
) -> Path:
    """Publish an optimizer into a directory, which is made when it is not there.

    Args:
        optimizer: one of a registered architecture.
        directory: where to; an optimizer that was published there is replaced.
        provenance: JSON values that say where theta comes from (command, commit, tasks, inner steps, ...).

    Returns:
        The directory.
    """
    directory = Path(directory)
    theta = {name: np.asarray(leaf) for name, leaf in _named_leaves(optimizer)}
    weights = safetensors.numpy.save(theta)
    config = {
        "format": FORMAT,
        "architecture": architecture_name(optimizer),
        "static": static_fields(optimizer),
        "theta_sha256": hashlib.sha256(weights).hexdigest(),
        "provenance": dict(provenance or {}),
    }
    text = json.dumps(config, indent=2) + "\n"  # before anything is written: the provenance may not be JSON
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _THETA).write_bytes(weights)
    (directory / _CONFIG).write_text(text)
    return directory


def load(name_or_path: str | PathLike[str]) -> LearnedOptimizer:
    """Load a published optimizer.

    Args:
        name_or_path: the name of one that comes with lopt, or a directory that `save` or `lopt-export` wrote.

    Raises:
        PublishedOptimizerError: when there is none, or its files are truncated, altered or foreign.
    """
    config = read_config(name_or_path)
    directory = _find(name_or_path)
    try:
        weights = (directory / _THETA).read_bytes()
    except OSError as error:
        raise PublishedOptimizerError(f"{directory} has no readable {_THETA}: {error.strerror}") from error
    if hashlib.sha256(weights).hexdigest() != config["theta_sha256"]:
        raise PublishedOptimizerError(
            f"{directory / _THETA} is truncated or was altered: its checksum differs from {_CONFIG}'s"
        )
    return _fill(config, weights, directory)


def read_config(name_or_path: str | PathLike[str]) -> dict[str, Any]:
    """Read and check a published optimizer's `config.json`.

    Args:
        name_or_path: as for `load`.

    Raises:
        PublishedOptimizerError: when it is missing or is not one.
    """
    path = _find(name_or_path) / _CONFIG
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise PublishedOptimizerError(
            f"{path.parent} holds no published optimizer: no readable {_CONFIG} ({error.strerror})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise PublishedOptimizerError(f"{path} is not JSON: {error}") from error
    keys = {"format": int, "architecture": str, "static": dict, "theta_sha256": str, "provenance": dict}
    if not isinstance(config, dict) or any(not isinstance(config.get(k), t) for k, t in keys.items()):
        raise PublishedOptimizerError(f"{path} is not the config of a published optimizer")
    if config["format"] != FORMAT:
        raise PublishedOptimizerError(
            f"{path} has format {config['format']}; this version of lopt reads format {FORMAT}"
        )
    return config


def published() -> list[str]:
    """Return the names of the optimizers that come with lopt."""
    found = (path.parent.name for root in _PUBLISHED for path in root.glob(f"*/{_CONFIG}"))
    return sorted(set(found))


def _find(name_or_path: str | PathLike[str]) -> Path:
    path = Path(name_or_path)
    if path.is_dir():
        return path
    for root in _PUBLISHED:
        if path.name == str(name_or_path) and (root / path / _CONFIG).is_file():
            return root / path
    near = difflib.get_close_matches(str(name_or_path), published(), n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise PublishedOptimizerError(
        f"{str(name_or_path)!r} is neither a directory nor the name of a published optimizer{hint}"
    )


def _fill(config: Mapping[str, Any], weights: bytes, directory: Path) -> LearnedOptimizer:
    try:
        _check_static(config["static"], architecture(config["architecture"]))
        abstract = jax.eval_shape(
            lambda: create(config["architecture"], jax.random.key(0), **config["static"])
        )
    except Exception as error:  # a config may hold anything: whatever `create` says of it
        raise PublishedOptimizerError(f"{directory / _CONFIG}: {error}") from error
    try:
        theta = safetensors.numpy.load(weights)
    except Exception as error:  # the library's own error type is not an Exception of ours to name
        raise PublishedOptimizerError(f"{directory / _THETA} is not a safetensors file: {error}") from error
    expected = {name: (leaf.shape, leaf.dtype) for name, leaf in _named_leaves(abstract)}
    found = {name: (leaf.shape, leaf.dtype) for name, leaf in theta.items()}
    if expected != found:
        differing = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        raise PublishedOptimizerError(
            f"{directory / _THETA} does not fit {config['architecture']}: {', '.join(differing)} differ"
        )
    leaves = [jnp.asarray(theta[name]) for name, _ in _named_leaves(abstract)]
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves)


def _check_static(static: Mapping[str, Any], cls: type[LearnedOptimizer]) -> None:
    defaults = {f.name: f.default for f in dataclasses.fields(cls) if not f.metadata.get("pytree_node", True)}
    for name in static.keys() & defaults.keys():
        value, default = static[name], defaults[name]
        if not isinstance(value, (int, float) if isinstance(default, float) else type(default)):
            raise ValueError(f"{name} is {value!r}, but should be like {default!r}")


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    flat, _ = jax.tree.flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in flat]

"""Lookup of optimizers: a baseline, a published optimizer, a directory, a run, or an architecture."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from lopt import (
    ARCHITECTURES,
    LearnedOptimizer,
    UsageError,
    create,
    is_hub_name,
    load,
    locate,
    published,
    read_config,
)
from meta_train import RunDirectory, read_run

from .baselines import BASELINES, Baseline


class OptimizerNotFoundError(UsageError):
    """There is no optimizer of that name."""


@dataclasses.dataclass(frozen=True)
class Found:
    """An optimizer that was found by name."""

    name: str
    """Its name in the benchmark: for a directory, its last part."""
    optimizer: LearnedOptimizer | Baseline
    origin: dict[str, Any]
    """Theta's provenance, as far as known."""


def find(name: str) -> Found:
    """Find an optimizer.

    Args:
        name: the name of a baseline, a published optimizer or an architecture (untrained, with theta drawn
            from seed 0), `hf://USER/NAME` for one on the Hugging Face Hub, or the path of a published
            directory or a run directory, whose newest theta is used. `./adam` is the directory, `adam` the
            baseline.

    Raises:
        OptimizerNotFoundError: if there is none, with similar names.
        UsageError: if it can't be loaded.
        RuntimeError: for a run directory without a checkpoint.
    """
    path = Path(name)
    if name in BASELINES:
        return Found(name, BASELINES[name], {})
    if is_hub_name(name):
        directory = locate(name)  # once: the repository may change meanwhile
        short = name.partition("@")[0].rpartition("/")[2]
        return Found(short, load(directory), read_config(directory)["provenance"])
    if name in published():
        return Found(name, load(name), read_config(name)["provenance"])
    if path.is_dir():
        return _in_directory(path)
    if name in ARCHITECTURES:
        return Found(name, create(name, jax.random.key(0)), {"meta_steps": 0})
    known = [*published(), *BASELINES, *ARCHITECTURES]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    raise OptimizerNotFoundError(
        f"there is no optimizer {name!r}: it is not a directory, and the names are {', '.join(known)}"
        + (f"; did you mean {' or '.join(near)}?" if near else "")
    )


def find_all(names: Sequence[str]) -> list[Found]:
    """Find several optimizers, each once; if short names collide, names are used as they were typed."""
    found = {name: find(name) for name in names}
    # A directory called adam must not be confused with the baseline.
    short = [*BASELINES, *(one.name for name, one in found.items() if name not in BASELINES)]
    return [
        dataclasses.replace(one, name=name) if short.count(one.name) > 1 else one
        for name, one in found.items()
    ]


def _in_directory(path: Path) -> Found:
    name = path.resolve().name
    run = RunDirectory(path)
    if run.identity.is_file() or run.checkpoints.is_dir():
        return Found(name, *read_run(path))
    if not (path / "config.json").is_file():
        raise OptimizerNotFoundError(
            f"{path} holds no optimizer: it is neither a published one nor a run directory of lopt-train"
        )
    return Found(name, load(path), read_config(path)["provenance"])

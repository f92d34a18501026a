"""Which part of theta is trained: patterns over the names of its arrays."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import jax

from .base import LearnedOptimizer
from .errors import UsageError


def trainable(optimizer: LearnedOptimizer, frozen: Iterable[str] = (), only: Iterable[str] = ()) -> Any:
    """Tell for every array of theta whether it is trained.

    Args:
        optimizer: a learned optimizer.
        frozen: patterns of what is not. A pattern is the name of an array, as in theta.safetensors
            (`mlp.0.kernel`), or the beginning of several (`mlp`), and may contain `*` and `?`.
        only: patterns of what is; then everything else is not.

    Returns:
        A tree like theta of True and False: what `optax.masked` takes.

    Raises:
        UsageError: for a pattern that matches nothing, with similar names, and if nothing is left to train.
    """
    rule = type(optimizer).__name__
    for patterns in (frozen, only):
        if isinstance(patterns, str):
            raise UsageError(f"patterns of {rule}'s theta are a list: write [{patterns!r}]")
    frozen, only = tuple(frozen), tuple(only)
    paths, treedef = jax.tree.flatten_with_path(optimizer)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]
    for pattern in (*frozen, *only):
        if not any(_matches(name, pattern) for name in names):
            raise UsageError(f"nothing in {rule}'s theta is called {pattern!r}; {_nearest(names, pattern)}")
    kept = [
        (not only or any(_matches(name, one) for one in only))
        and not any(_matches(name, one) for one in frozen)
        for name in names
    ]
    if not any(kept):
        raise UsageError(f"nothing of {rule}'s theta ({', '.join(_fields(names))}) is left to train")
    return jax.tree.unflatten(treedef, kept)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def _nearest(names: list[str], pattern: str) -> str:
    """Return a suggestion: names of arrays or of groups of them that are like a pattern."""
    parts = [name.split(".") for name in names]
    groups = dict.fromkeys(".".join(one[:length]) for one in parts for length in range(1, len(one) + 1))
    near = difflib.get_close_matches(pattern, groups, n=3, cutoff=0.5) or _fields(names)
    return f"did you mean {' or '.join(near)}?"


def _fields(names: list[str]) -> list[str]:
    return [*dict.fromkeys(name.partition(".")[0] for name in names)]

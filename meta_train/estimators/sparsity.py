"""Which entries of a Jacobian can be other than zero, read off the program that computes it.

No number is computed: each primitive of the forward derivative passes on which entries of its result depend
on which inputs. So the pattern holds for all values of theta, state and data, and is known while a program is
traced. It is never too small; it is too large where a primitive's own pattern depends on values (gathers,
loops, branches: every result may depend on everything that comes in), or where a number happens to be zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from lopt import UsageError

from .dependences import follow, result_sizes

_AT_ONCE = 2**24
"""Booleans of the largest array that are followed at once."""
_MOST = 2**33
"""Booleans that are followed altogether: about 10 seconds."""

Pattern = Bool[np.ndarray, "rows columns"]


def jacobian_pattern(function: Callable[..., Any], point: Any, *others: Any) -> Pattern:
    """Return which entries of a function's result may depend on which entries of its first argument.

    Args:
        function: a differentiable function that returns a tree of float arrays.
        point: its first argument, a tree of float arrays, of which only shapes and dtypes count.
        others: further arguments, which are held fixed.

    Returns:
        Booleans [entries of the result, entries of the argument], both in the order of their leaves.

    Raises:
        UsageError: for a program that takes too long to follow.
    """
    sizes = [leaf.size for leaf in jax.tree.leaves(point)]
    basis = np.split(np.eye(sum(sizes), dtype=bool), np.cumsum(sizes)[:-1], axis=1)
    return _spread(function, point, others, basis)


def leaf_pattern(function: Callable[..., Any], point: Any, *others: Any) -> Pattern:
    """Return which entries of a function's result may depend on which leaves of its first argument.

    Args:
        function: as for `jacobian_pattern`, like the other arguments.
        point: its first argument.
        others: further arguments, which are held fixed.

    Returns:
        Booleans [entries of the result, leaves of the argument].
    """
    leaves = jax.tree.leaves(point)
    seeds = [np.zeros((len(leaves), leaf.size), bool) for leaf in leaves]
    for number, seed in enumerate(seeds):
        seed[number] = True
    return _spread(function, point, others, seeds)


def _spread(
    function: Callable[..., Any], point: Any, others: tuple[Any, ...], seeds: list[np.ndarray]
) -> Pattern:
    """Return what depends on which seed, each a boolean for each entry of each leaf [seeds, size]."""
    leaves, treedef = jax.tree.flatten(jax.tree.map(struct_of, point))

    def forward(tangents: list[Any], primals: list[Any], *others: Any) -> list[Any]:
        at = lambda leaves: function(treedef.unflatten(leaves), *others)  # noqa: E731
        return jax.tree.leaves(jax.jvp(at, (primals,), (tangents,))[1])

    jaxpr: Any = jax.make_jaxpr(forward)(leaves, leaves, *jax.tree.map(struct_of, others)).jaxpr
    fixed = [None] * (len(jaxpr.invars) - len(leaves))
    count = len(seeds[0]) if seeds else 0
    sizes = list(result_sizes(jaxpr))
    if count * sum(sizes) > _MOST:
        raise UsageError(
            f"snap finds out entry by entry what depends on {count:,} numbers of state and theta, and a step "
            f"computes {sum(sizes):,} numbers from them, which takes too long: take dodge, uoro or pes"
        )
    at_once = max(1, _AT_ONCE // max(sizes, default=1))
    columns = []
    for first in range(0, count, at_once):
        some = [seed[first : first + at_once] for seed in seeds]
        known = [seed.reshape(-1, *leaf.shape) for seed, leaf in zip(some, leaves, strict=True)]
        results = follow(jaxpr, [*known, *fixed])
        rows = [
            np.zeros((len(some[0]), var.aval.size), bool) if r is None else r.reshape(len(r), -1)
            for r, var in zip(results, jaxpr.outvars, strict=True)
        ]
        columns.append(np.concatenate([np.zeros((len(some[0]), 0), bool), *rows], axis=1).T)
    return np.concatenate(columns, axis=1) if columns else np.zeros((0, 0), bool)


def struct_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return what is known of an array before its numbers."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    aval = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)

"""What theta can reach of a state within a few steps, and how a step's Jacobians give the influence on it.

A sparse Jacobian needs few forward derivatives: columns that share no row are pushed together.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from .forward import Tangents, float_leaves, with_floats
from .sparsity import Pattern, jacobian_pattern, struct_of

_MOST_ENTRIES = 2**29
"""Of the booleans that tell what depends on what."""


class Compressed(NamedTuple):
    """A sparse Jacobian, given by its derivatives along a few directions."""

    pattern: Pattern
    """Which of its entries are other than zero."""
    colours: Int[np.ndarray, " columns"]
    """The direction that each column is part of."""

    @classmethod
    def of(cls, pattern: Pattern) -> Compressed:
        """Find directions for a pattern."""
        return cls(pattern, colours(pattern))

    @property
    def seeds(self) -> Bool[Array, "directions columns"]:
        """The directions: sums of columns that share no row."""
        return jnp.asarray(np.arange(self.colours.max(initial=0) + 1)[:, None] == self.colours[None])

    def place(self, rows: np.ndarray, columns: np.ndarray) -> Int[np.ndarray, " entries"]:
        """Return where entries are in the derivatives along all seeds, one after the other."""
        return self.colours[columns] * len(self.pattern) + rows


class Reach(NamedTuple):
    """The entries of the influence that are kept, and how a step computes them."""

    rows: Int[np.ndarray, " kept"]
    """The entry of the state."""
    columns: Int[np.ndarray, " kept"]
    """The entry of theta."""
    start: Compressed
    """Derivative of the initial state with respect to theta [S, P]."""
    direct: Compressed
    """Derivative of the next state with respect to theta [S, P]."""
    recurrent: Compressed
    """Derivative of the next state with respect to the state [S, S]."""
    to: Int[np.ndarray, " products"]
    """The kept entry to which a product of recurrent derivative and influence is added."""
    by: Int[np.ndarray, " products"]
    """The place of its first factor in the recurrent derivatives."""
    of: Int[np.ndarray, " products"]
    """Its second factor, a kept entry."""

    @property
    def megabytes(self) -> float:
        """What the kept entries and the products take."""
        return (8 * len(self.rows) + 16 * len(self.to)) / 1e6

    def of_theta(self, jacobian: Compressed, derivatives: Float[Array, " all"]) -> Float[Array, " kept"]:
        """Return the kept entries of a derivative with respect to theta, `start` or `direct`."""
        there = jacobian.pattern[self.rows, self.columns]
        return jnp.where(there, derivatives[jacobian.place(self.rows, self.columns)], 0)


def find_reach(dynamics: Dynamics, theta: Theta, steps: int) -> Reach:
    """Find what theta can reach of the state within so many steps, also by the initial state.

    Args:
        dynamics: the unrolled graph, of which only the program counts.
        theta: the meta-parameters, of which only the shapes count.
        steps: the number of steps, at least 1.

    Raises:
        UsageError: for more entries of state and theta than can be analysed.
    """
    leaves, treedef = jax.tree.flatten(jax.tree.map(struct_of, (dynamics, theta)))
    return _find(treedef, tuple(leaves), steps, jnp.result_type(float))


@functools.lru_cache(maxsize=32)
def _find(treedef: Any, leaves: tuple[Any, ...], steps: int, float_dtype: Any) -> Reach:
    dynamics, theta = treedef.unflatten(leaves)
    start, direct, recurrent = (Compressed.of(pattern) for pattern in _patterns(dynamics, theta))
    first = start.pattern | direct.pattern
    kept, spreads = first, recurrent.pattern.astype(np.float32)
    for _ in range(steps - 1):
        further = first | (spreads @ kept.astype(np.float32) > 0)
        if np.array_equal(further, kept):
            break
        kept = further
    rows, columns = np.nonzero(kept)
    number = np.full(kept.shape, -1, np.int32)
    number[rows, columns] = np.arange(len(rows))
    to, by, of = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for after, before in zip(*np.nonzero(recurrent.pattern), strict=True):
        shared = np.flatnonzero(kept[after] & kept[before])
        to.append(number[after, shared])
        of.append(number[before, shared])
        by.append(np.full(len(shared), recurrent.place(after, before), np.int32))
    products = (np.concatenate(one) for one in (to, by, of))
    return Reach(rows.astype(np.int32), columns.astype(np.int32), start, direct, recurrent, *products)


def _patterns(dynamics: Dynamics, theta: Theta) -> tuple[Pattern, Pattern, Pattern]:
    """Return what theta changes in the initial state, and what theta and the state change in the next."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    horizon = jax.ShapeDtypeStruct((), jnp.int32)
    state = jax.eval_shape(lambda d, t, h, k: d.init(t, h, k), dynamics, theta, horizon, key)
    floats = float_leaves(state)
    states, parameters = (sum(x.size for x in jax.tree.leaves(tree)) for tree in (floats, theta))
    if (states + parameters) ** 2 > _MOST_ENTRIES:
        raise UsageError(
            f"snap finds out entry by entry what depends on {states:,} numbers of state and {parameters:,} "
            "meta-parameters, which are too many: take dodge, uoro or pes"
        )

    def begin(theta: Theta, dynamics: Dynamics, horizon: Array, key: Array) -> Tangents:
        return float_leaves(dynamics.init(theta, horizon, key))

    def go_on(both: tuple[Theta, Tangents], dynamics: Dynamics, state: Any, key: Array) -> Tangents:
        theta, floats = both
        return float_leaves(dynamics.step(theta, with_floats(state, floats), key)[0])

    start = jacobian_pattern(begin, theta, dynamics, horizon, key)
    step = jacobian_pattern(go_on, (theta, floats), dynamics, state, key)
    return start, step[:, :parameters], step[:, parameters:]


def colours(pattern: Pattern) -> Int[np.ndarray, " columns"]:
    """Give the columns of a pattern as few colours as a greedy search finds; equal ones share no row."""
    chosen = np.zeros(pattern.shape[1], np.int32)
    taken = np.zeros((0, pattern.shape[0]), bool)
    for column in range(pattern.shape[1]):
        rows = pattern[:, column]
        free = np.flatnonzero(~np.any(taken & rows[None], axis=1))
        if not len(free):
            taken = np.concatenate([taken, np.zeros((1, len(rows)), bool)])
            free = [len(taken) - 1]
        chosen[column] = free[0]
        taken[free[0]] |= rows
    return chosen

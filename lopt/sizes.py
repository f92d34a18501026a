"""Sizes of tensors: sums, means and roots, with derivatives that are finite at zero."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Tensor = Float[Array, "..."]

_LONGEST_SUM = 2**16
"""Largest number of elements that are summed sequentially, because rounding grows with their number."""
_SHORTEST_SUM = 16
"""Smallest number of elements in a row for which rows are summed separately first."""


@jax.custom_jvp
def sums(terms: tuple[Tensor, ...]) -> Float[Array, " terms"]:
    """Return the sum of each of several arrays of one shape, in one pass over all of them.

    This is one reduction with many operands: the terms are never stored, and common subexpressions are
    computed once. Summed one by one, each term would be written to memory and read again.
    """
    shape = terms[0].shape
    kept = 1 if len(shape) > 1 and shape[0] * _SHORTEST_SUM < terms[0].size > _LONGEST_SUM else 0
    zeros = (jnp.zeros((), terms[0].dtype),) * len(terms)
    add = lambda a, b: tuple(map(operator.add, a, b))  # noqa: E731
    partial = jnp.stack(jax.lax.reduce(terms, zeros, add, tuple(range(kept, len(shape)))))
    return jnp.sum(partial, axis=-1) if kept else partial


@sums.defjvp
def _differentiate(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """Sum the tangents: jax does not differentiate a reduction of many operands."""
    return sums(*primals), jnp.stack([jnp.sum(t) for t in tangents[0]])


def means(terms: Sequence[Tensor]) -> Float[Array, " terms"]:
    """Return the mean of each of several nonempty arrays of one shape."""
    return sums(tuple(terms)) / terms[0].size


def mean_square(x: Array) -> Float[Array, ""]:
    """Return the mean square of a nonempty array of any float dtype, in float32."""
    return means([jnp.square(x.astype(jnp.float32))])[0]


def rms(x: Tensor) -> Float[Array, ""]:
    """Return the root mean square of a nonempty array, with `sqrt`'s derivative at zero."""
    return sqrt(mean_square(x))


def sqrt(x: Tensor) -> Tensor:
    """Return the square root of x >= 0, with derivative 0 and value 1e-19 at 0.

    The true derivative is infinite there: a single parameter whose gradients were all zero would make the
    derivative with respect to all of theta NaN.
    """
    return jnp.sqrt(jnp.maximum(x, jnp.finfo(jnp.float32).tiny))

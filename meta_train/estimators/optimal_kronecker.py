"""The optimal unbiased approximation of the influence by a few Kronecker products."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt import UsageError

from .kronecker import KroneckerSum, Products
from .registry import register


@register("ok")
@dataclasses.dataclass(frozen=True)
class OK(KroneckerSum):
    """Carry an unbiased estimate of the influence of a recurrent network's matrix as r Kronecker products.

    A step makes r + 1 products of them, a matrix of rank r + 1 if each factor is read as a vector. It is
    replaced by one of rank r that has the same mean and the smallest possible variance: of its singular
    values, those that are large enough are kept, and the others mixed with random signs (`mix`). Unbiased.
    For `Recurrent` dynamics, such as the copy task's. Needs a differentiable graph, and does not smooth.

    Variance: a step adds s^2 / k - sum d_i^2 for the values d_i that are mixed into k, with sum s: for one
    product 2 d_1 d_2, which is less than that of KF-RTRL. Memory: r (S R + I) for a state of S numbers and a
    matrix of R rows and I columns, per sequence. Cost of a step: F + B, S + R forward derivatives, products
    of r S^2 R numbers, and a decomposition of r + 1 vectors.

    Attributes:
        terms: the number r of products.

    Raises:
        UsageError: for a number of terms that is not positive, and as in `Estimator`.

    References: Benzing, Gauy, Mujika, Martinsson, Steger 2019, Optimal Kronecker-sum approximation of real
        time recurrent learning (arXiv 1902.03993).
    """

    terms: int = 4

    def __post_init__(self) -> None:
        KroneckerSum.__post_init__(self)
        if self.terms < 1:
            raise UsageError(f"terms must be at least 1, not {self.terms}")

    @property
    def products(self) -> int:
        """Return `terms`."""
        return self.terms

    def shorten(self, grown: Products, signs: Float[Array, "sequences terms+1"]) -> Products:
        """Return the optimal sum with one product less."""
        sequences, many = grown.wide.shape[:2]
        tall = grown.tall.reshape(sequences, many, -1)
        tall, wide = jax.vmap(shorten_sum)(tall, grown.wide, signs)
        return Products(tall.reshape(sequences, self.terms, *grown.tall.shape[2:]), wide)


def shorten_sum(
    tall: Float[Array, "many m"], wide: Float[Array, "many n"], signs: Float[Array, " many"]
) -> tuple[Float[Array, "many-1 m"], Float[Array, "many-1 n"]]:
    """Return a sum of outer products with one product less, and the least variance among unbiased ones.

    Args:
        tall: the first factors.
        wide: the second factors.
        signs: random signs; over all of them, the mean of the result is the given sum.
    """
    many = len(signs)
    # A vector shorter than the sum has products: zeros beside it make room for the decomposition.
    room = lambda x: jnp.pad(x, ((0, 0), (0, max(0, many - x.shape[1]))))  # noqa: E731
    (left, first), (right, second) = (jnp.linalg.qr(room(x).T) for x in (tall, wide))
    outer, values, inner = jnp.linalg.svd(first @ second.T)
    mixing = mix(values, signs)
    found = (left @ outer @ mixing).T, (right @ inner.T @ mixing).T
    return found[0][:, : tall.shape[1]], found[1][:, : wide.shape[1]]


def mix(values: Float[Array, " many"], signs: Float[Array, " many"]) -> Float[Array, "many many-1"]:
    """Return a matrix M with E[M M^T] = diag(values) over random signs, and the least variance of M M^T.

    The largest values are kept as they are: the smallest number m of them for which the next one is at most
    s / k, with s the sum of the remaining ones and k = many - 1 - m. On these, M M^T is s / k (I - z z^T)
    with signs, where z_i^2 = 1 - k d_i / s: the diagonal is right, and the rest vanishes on average.

    Args:
        values: in falling order, not negative.
        signs: random signs.
    """
    many = len(values)
    index = jnp.arange(many, dtype=jnp.int32)
    sums = jnp.cumsum(values[::-1])[::-1]
    room = jnp.asarray(many - 1 - index, values.dtype)
    # At m = many - 2 it always holds.
    kept = jnp.argmax(room * values <= sums).astype(jnp.int32)
    total, rank = sums[kept], room[kept]
    share = jnp.where(total > 0, rank * values / jnp.where(total > 0, total, 1), 1)
    z = jnp.where(index < kept, 0, jnp.sqrt(jnp.maximum(1 - share, 0)))
    scale = jnp.sqrt(jnp.where(index < kept, values, total / rank))
    # The reflection that maps z to the last axis: its other columns are a basis of what is orthogonal to z.
    away = z.at[-1].add(1)
    reflection = jnp.eye(many, dtype=z.dtype) - 2 * jnp.outer(away, away) / jnp.sum(away**2)
    return (signs * scale)[:, None] * reflection[:, :-1]

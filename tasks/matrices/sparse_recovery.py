"""Sparse recovery: few coefficients, from fewer equations than unknowns."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Batch, Task
from ..data.prepared import SPLITS, Split
from ..layers import check_ranges, draw_whole, equal_weights, log_uniform
from ..registry import register

_CORNER = 0.01
"""Size of a coefficient below which the penalty is a parabola."""


class SparseInstance(NamedTuple):
    """One problem."""

    matrix: Float[Array, "measurements dimension"]
    """The train equations, without noise: matrix @ truth."""
    truth: Float[Array, " dimension"]
    noise: Float[Array, ""]
    penalty: Float[Array, ""]


class SparseRecovery(Task):
    """Find a sparse vector from noisy linear equations; squared error and a smoothed l1 penalty.

    The train split is `measurements` normal equations in more unknowns; every other split draws new ones. The
    penalty is penalty * sum(sqrt(x^2 + c^2) - c) with c = 0.01. The truth has a norm of about 1, and a number
    of normal coefficients that is uniform over `nonzeros`; noise and penalty are log-uniform. Starts at zero.

    References:
        Tibshirani 1996, Regression shrinkage and selection via the lasso (JRSS B 58).

    Raises:
        UsageError: for an empty range.
    """

    dimension: int = struct.field(pytree_node=False, default=48)
    measurements: int = struct.field(pytree_node=False, default=24)
    nonzeros: tuple[int, int] = struct.field(pytree_node=False, default=(4, 4))
    noises: tuple[float, float] = struct.field(pytree_node=False, default=(0.03, 0.03))
    penalties: tuple[float, float] = struct.field(pytree_node=False, default=(0.03, 0.03))
    batch_size: int = struct.field(pytree_node=False, default=16)

    def __post_init__(self) -> None:
        check_ranges(nonzeros=self.nonzeros, noises=self.noises, penalties=self.penalties)

    def sample(self, key: Key[Array, ""]) -> SparseInstance:
        """Draw the equations, the truth, the noise and the penalty."""
        keys = jax.random.split(key, 6)
        count = draw_whole(keys[0], self.nonzeros)
        chosen = jax.random.permutation(keys[1], self.dimension) < count
        truth = jnp.where(chosen, jax.random.normal(keys[2], (self.dimension,)), 0) / jnp.sqrt(count)
        return SparseInstance(
            matrix=jax.random.normal(keys[3], (self.measurements, self.dimension)),
            truth=truth,
            noise=log_uniform(keys[4], *self.noises),
            penalty=log_uniform(keys[5], *self.penalties),
        )

    def init(self, instance: SparseInstance, key: Key[Array, ""]) -> dict[str, Array]:
        """Start at zero."""
        return {"x": jnp.zeros(self.dimension)}

    def batch(self, instance: SparseInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw some of the train equations, or new ones, and observe them with fresh noise."""
        row_key, noise_key = jax.random.split(jax.random.fold_in(key, SPLITS.index(split)))
        if split == "train":
            rows = instance.matrix[jax.random.randint(row_key, (self.batch_size,), 0, self.measurements)]
        else:
            rows = jax.random.normal(row_key, (self.batch_size, self.dimension))
        noise = instance.noise * jax.random.normal(noise_key, (self.batch_size,))
        return Batch(rows, rows @ instance.truth + noise, equal_weights(self.batch_size))

    def loss(
        self, instance: SparseInstance, params: dict[str, Array], batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean squared error plus the penalty."""
        x = params["x"]
        sizes = jnp.sqrt(jnp.square(x) + _CORNER**2) - _CORNER
        errors = batch.inputs @ x - batch.targets
        return batch.weights @ jnp.square(errors) + instance.penalty * jnp.sum(sizes)

    @property
    def ceiling(self) -> float:
        """Thirty times the mean loss at the start."""
        return 30.0


register("sparse-recovery")(SparseRecovery)


@register("sparse-recovery-family")
def sparse_recovery_family() -> Task:
    """Two to eight coefficients, any noise up to a tenth, a penalty from too small to too large."""
    return SparseRecovery(nonzeros=(2, 8), noises=(0.01, 0.1), penalties=(0.003, 0.1))

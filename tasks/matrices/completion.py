"""Matrix completion: predict entries from others of the same rows and columns."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Batch, Task
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import Layers, check_ranges, draw_layers, draw_whole, equal_weights, log_uniform
from ..perceptron import live_units
from ..registry import register

_PERIOD, _TRAIN = 8, 5
"""Entry (i, j) belongs to a split by (i + j) % 8: 0 to 4 is train, and each other split has one number."""


class CompletionInstance(NamedTuple):
    """One matrix."""

    rows: Float[Array, "size rank"]
    columns: Float[Array, "size rank"]
    """The matrix is rows @ columns^T, with a variance of 1."""
    noise: Float[Array, ""]
    """Standard deviation of the errors of observations."""
    initial_scale: Float[Array, ""]


class MatrixCompletion(Task):
    """Predict the entries of a low-rank matrix as products of a vector per row and one per column.

    Five eighths of the entries are train and one eighth each of the other splits, spread evenly over rows and
    columns, so that only the structure of low rank carries from one split to another. A batch is some
    entries, observed with fresh noise. The true rank is uniform over `true_ranks`; noise and initial scale
    are log-uniform.

    References:
        Koren, Bell and Volinsky 2009, Matrix factorization techniques for recommender systems (Computer 42).

    Raises:
        UsageError: for an empty range, or a size that is not a multiple of 8.
    """

    size: int = struct.field(pytree_node=False, default=24)
    rank: int = struct.field(pytree_node=False, default=4)
    true_ranks: tuple[int, int] = struct.field(pytree_node=False, default=(3, 3))
    noises: tuple[float, float] = struct.field(pytree_node=False, default=(0.1, 0.1))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(0.5, 0.5))
    batch_size: int = struct.field(pytree_node=False, default=64)

    def __post_init__(self) -> None:
        check_ranges(true_ranks=self.true_ranks, noises=self.noises, initial_scales=self.initial_scales)
        if self.size < _PERIOD or self.size % _PERIOD:
            raise UsageError(f"size={self.size} can't be split: give a multiple of {_PERIOD}")

    def sample(self, key: Key[Array, ""]) -> CompletionInstance:
        """Draw a matrix by its factors."""
        factor_key, rank_key, noise_key, scale_key = jax.random.split(key, 4)
        rank = draw_whole(rank_key, self.true_ranks)
        factors = jax.random.normal(factor_key, (2, self.size, self.true_ranks[1]))
        factors = factors * live_units(self.true_ranks, rank)[None, None] * rank.astype(jnp.float32) ** -0.25
        return CompletionInstance(
            factors[0],
            factors[1],
            noise=log_uniform(noise_key, *self.noises),
            initial_scale=log_uniform(scale_key, *self.initial_scales),
        )

    def init(self, instance: CompletionInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal vectors of scale initial_scale."""
        shapes = {"embedding": (self.size, self.rank)}
        layers = draw_layers(key, {"rows": shapes, "columns": shapes})
        scale = instance.initial_scale * self.rank**0.5
        return {name: {"embedding": one["embedding"] * scale} for name, one in layers.items()}

    def batch(self, instance: CompletionInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw entries of a split: inputs are rows and columns, int32 [batch, 2]."""
        row_key, group_key, column_key, noise_key = jax.random.split(key, 4)
        shape = (self.batch_size,)
        rows = jax.random.randint(row_key, shape, 0, self.size)
        first = 0 if split == "train" else _TRAIN - 1 + SPLITS.index(split)
        groups = jax.random.randint(group_key, shape, first, _TRAIN if split == "train" else first + 1)
        blocks = jax.random.randint(column_key, shape, 0, self.size // _PERIOD)
        columns = (groups - rows) % _PERIOD + _PERIOD * blocks
        truth = jnp.sum(instance.rows[rows] * instance.columns[columns], axis=-1)
        targets = truth + instance.noise * jax.random.normal(noise_key, shape)
        return Batch(jnp.stack([rows, columns], axis=-1), targets, equal_weights(self.batch_size))

    def loss(
        self, instance: CompletionInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean squared error."""
        rows = params["rows"]["embedding"][batch.inputs[:, 0]]
        columns = params["columns"]["embedding"][batch.inputs[:, 1]]
        return batch.weights @ jnp.square(jnp.sum(rows * columns, axis=-1) - batch.targets)

    @property
    def ceiling(self) -> float:
        """Thirty times the loss of predicting zero."""
        return 30.0


register("matrix-completion")(MatrixCompletion)


@register("matrix-completion-family")
def matrix_completion_family() -> Task:
    """True ranks from 1 to 4, little or much noise, vectors that start small or at their final size."""
    return MatrixCompletion(true_ranks=(1, 4), noises=(0.01, 0.3), initial_scales=(0.1, 1.0))

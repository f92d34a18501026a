"""Fewer rows in a batch."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Key

from ..base import AnyBatch
from ..data.prepared import Split
from ..errors import UsageError
from .wrapper import Wrapped, Wrapper


class SmallerBatches(Wrapper):
    """Keep the first rows of every batch, a given fraction rounded up, and renormalise their weights.

    Batches must be named tuples of arrays with one row per example, among them `weights`, the weight of each.

    Raises:
        UsageError: for a fraction that is not in (0, 1]; by `batch`, if batches have no weights.
    """

    fraction: float = struct.field(pytree_node=False, default=0.5)

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise UsageError(
                f"fraction={self.fraction} is not a share of a batch: give more than 0 and at most 1"
            )

    def batch(self, instance: Wrapped, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw a batch of the wrapped task and keep its first rows."""
        batch = self.task.batch(instance.task, key, split)
        if not hasattr(batch, "weights"):
            raise UsageError(
                f"batches of {type(self.task).__name__} have no `weights` and cannot be made smaller: "
                "wrap a task that draws a tasks.Batch, like ImageMLP"
            )
        rows = math.ceil(self.fraction * batch.weights.shape[0])
        if rows == batch.weights.shape[0]:
            return batch
        kept = jax.tree.map(lambda leaf: leaf[:rows], batch)
        return kept._replace(weights=kept.weights / jnp.sum(kept.weights))

"""Batches, for all tasks on small images."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from ..base import Batch
from ..data.datasets import Dataset
from ..data.prepared import Split
from ..layers import equal_weights


def draw_images(dataset: Dataset, key: Key[Array, ""], split: Split, size: int) -> Batch:
    """Draw flattened examples with replacement, with equal weights."""
    images, labels = dataset.batch(key, split, size)
    return Batch(images.reshape(size, -1), labels, equal_weights(size))


def count_rows(batch: Batch, sizes: tuple[int, int], size: Int[Array, ""]) -> Batch:
    """Give the first `size` rows equal weights and the others none, if sizes are drawn at all."""
    if sizes[0] == sizes[1]:
        return batch
    counted = jnp.arange(sizes[1], dtype=jnp.int32) < size
    return batch._replace(weights=jnp.where(counted, 1 / size, 0))


def count_pixels(dataset: Dataset) -> int:
    """Return the number of values in an image."""
    return math.prod(dataset.images["train"].shape[1:])

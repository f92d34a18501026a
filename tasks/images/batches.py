"""Batches, for all tasks on small images."""

from __future__ import annotations

import math

from jaxtyping import Array, Key

from ..base import Batch
from ..data.datasets import Dataset
from ..data.prepared import Split
from ..layers import equal_weights


def draw_images(dataset: Dataset, key: Key[Array, ""], split: Split, size: int) -> Batch:
    """Draw flattened examples with replacement, with equal weights."""
    images, labels = dataset.batch(key, split, size)
    return Batch(images.reshape(size, -1), labels, equal_weights(size))


def count_pixels(dataset: Dataset) -> int:
    """Return the number of values in an image."""
    return math.prod(dataset.images["train"].shape[1:])

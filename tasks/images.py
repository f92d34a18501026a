"""What tasks on small images share: their batches."""

from __future__ import annotations

import math
from typing import NamedTuple

from jaxtyping import Array, Float, Int, Key

from .datasets import Dataset
from .layers import equal_weights
from .prepared import Split


class ImageBatch(NamedTuple):
    """Images with a weight each: a smaller batch is one whose last weights are zero."""

    images: Float[Array, "batch pixels"]
    labels: Int[Array, " batch"]
    weights: Float[Array, " batch"]


def draw_images(dataset: Dataset, key: Key[Array, ""], split: Split, size: int) -> ImageBatch:
    """Draw flattened examples with replacement, each of the same weight."""
    images, labels = dataset.batch(key, split, size)
    return ImageBatch(images.reshape(size, -1), labels, equal_weights(size))


def count_pixels(dataset: Dataset) -> int:
    """Return how many numbers an image is."""
    return math.prod(dataset.images["train"].shape[1:])

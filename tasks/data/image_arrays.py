"""A data set from arrays of images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, UInt8

from ..errors import UsageError
from .image_data import Dataset, on_device
from .prepared import SPLITS, Split

_SEED = 0
_TENTHS = (8, 9)
"""Where the training examples are cut into the first three splits, as `prepared.py` cuts TFDS's."""

Images = UInt8[np.ndarray, " n *shape"]
Labels = Int[np.ndarray, " n"]


def make_dataset(
    images: Images, labels: Labels, test: tuple[Images, Labels] | None = None, name: str = "mine"
) -> Dataset:
    """Split images and labels, and put them on the device.

    Args:
        images: uint8 [n, height, width, channels] or [n, height, width], 0 to 255.
        labels: integers [n], the classes 0, 1, ....
        test: the images and labels of the test split; default: a tenth of the others. The rest is permuted
            with a fixed seed, and split 80 % train, 10 % for each of the other two.
        name: its name.

    Raises:
        UsageError: for other shapes and types, labels below 0, or too few examples for four splits.
    """
    images, labels = _checked(images, labels)
    # RandomState, because numpy guarantees its stream permanently; that of default_rng may change.
    order = np.random.RandomState(_SEED).permutation(len(labels))
    if test is None:
        kept = len(order) * 9 // 10
        tested, order = order[kept:], order[:kept]
        test_images, test_labels = images[tested], labels[tested]
    else:
        test_images, test_labels = _checked(*test)
    parts = np.split(order, [len(order) * tenths // 10 for tenths in _TENTHS])
    splits: dict[Split, tuple[np.ndarray, np.ndarray]] = {
        split: (images[rows], labels[rows]) for split, rows in zip(SPLITS[:3], parts, strict=True)
    }
    splits["test"] = test_images, test_labels
    if empty := [split for split, (_, its) in splits.items() if not len(its)]:
        raise UsageError(f"{len(labels)} images are too few for four splits: {empty[0]} would be empty")
    if test_images.shape[1:] != images.shape[1:]:
        shapes = f"{test_images.shape[1:]}, and the others {images.shape[1:]}"
        raise UsageError(f"the test images have the shape {shapes}")
    return on_device(splits, name, int(max(labels.max(), test_labels.max())) + 1)


def _checked(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        kind = f"{images.dtype} {list(images.shape)}"
        raise UsageError(f"images are uint8 [n, height, width, channels], 0 to 255, and these are {kind}")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        kind = f"{labels.dtype} {list(labels.shape)}"
        raise UsageError(f"labels are {len(images)} integers, one for each image, and these are {kind}")
    if len(labels) and labels.min() < 0:
        raise UsageError(f"labels are classes from 0 on, and one is {labels.min()}")
    return images.reshape(*images.shape[:3], -1), labels.astype(np.int32)

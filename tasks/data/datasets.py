"""Image classification data, stored on the device as uint8 and read once through TFDS.

This module needs neither TensorFlow nor a network; `prepared.py` locates the data.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key, UInt8

from ..errors import UsageError
from .prepared import (
    SPLITS,
    TFDS_SPLITS,
    DatasetNotPreparedError,
    Split,
    ensure_prepared,
    find_source,
    require_packages,
    resolve_data_dir,
)

_READ_CHUNK = 4096  # examples decoded at a time, so that reading never holds two copies of the data


class Dataset(struct.PyTreeNode):
    """A classification data set on the device.

    Pass it to jitted functions as an argument (it is a pytree) instead of closing over it: closed-over arrays
    may become constants of the compiled program.

    Attributes:
        images: split -> uint8 [n, height, width, channels], 0..255.
        labels: split -> int32 [n], 0..num_classes - 1.
        name: its name in `DATASETS`.
        num_classes: number of classes.
        mean: mean of the train split's pixels scaled to 0..1.
        std: standard deviation of the same pixels.
    """

    images: dict[str, jax.Array]
    labels: dict[str, jax.Array]
    name: str = struct.field(pytree_node=False)
    num_classes: int = struct.field(pytree_node=False)
    mean: float = struct.field(pytree_node=False)
    std: float = struct.field(pytree_node=False)

    def size(self, split: Split) -> int:
        """Return the number of examples in `split`."""
        return self.labels[split].shape[0]

    def batch(
        self, key: Key[Array, ""], split: Split, batch_size: int
    ) -> tuple[Float[Array, "batch height width channels"], Int[Array, " batch"]]:
        """Draw examples of `split` uniformly, with replacement.

        This is cheap inside `scan` and `vmap`: only the drawn uint8 rows are gathered and converted, and
        mapped keys share one copy of the data.

        Args:
            key: one typed PRNG key.
            split: the split to draw from.
            batch_size: number of examples.

        Returns:
            Images standardised by the train split's `mean` and `std`, float32, and labels, int32.
        """
        images = self.images[split]
        rows = jax.random.randint(key, (batch_size,), 0, self.size(split))
        # On a CPU, gathering flat rows is four times as fast as gathering [height, width, channels] blocks.
        flat = images.reshape(images.shape[0], -1).at[rows].get(mode="promise_in_bounds")
        labels = self.labels[split].at[rows].get(mode="promise_in_bounds")
        pixels = flat.astype(jnp.float32).reshape(batch_size, *images.shape[1:])
        return (pixels / 255.0 - self.mean) / self.std, labels


def load_dataset(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read a data set onto the device; later calls for the same directory return the same object.

    Args:
        name: a name in `DATASETS`.
        data_dir: the TFDS root directory; see `resolve_data_dir`.

    Returns:
        The data set, all four splits.

    Raises:
        UnknownDatasetError: if no data set has that name.
        DatasetNotPreparedError: if it is not prepared as array_record, or is damaged, or `data_dir` cannot be
            written.
        MissingPackageError: if a package for reading it is not installed.
    """
    find_source(name)
    return _load_cached(name, resolve_data_dir(data_dir))


@functools.cache
def _load_cached(name: str, data_dir: Path) -> Dataset:
    require_packages(name)
    splits, num_classes = _read_splits(ensure_prepared(name, data_dir))
    return on_device(splits, name, num_classes)


def on_device(
    splits: Mapping[Split, tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]],
    name: str,
    num_classes: int,
) -> Dataset:
    """Put a data set's splits on the device, with the mean and standard deviation of the train split."""
    train = splits["train"][0]
    # From counts of the 256 levels: exact, and without a float copy of the images.
    counts = np.bincount(train.reshape(-1), minlength=256) / train.size
    levels = np.arange(256) / 255.0
    mean = float(counts @ levels)
    std = float(np.sqrt(counts @ (levels - mean) ** 2))
    # Otherwise a first call inside a traced function would cache that trace's values.
    with jax.ensure_compile_time_eval():
        images = {split: jnp.asarray(splits[split][0]) for split in SPLITS}
        labels = {split: jnp.asarray(splits[split][1]) for split in SPLITS}
    return Dataset(images=images, labels=labels, name=name, num_classes=num_classes, mean=mean, std=std)


def _read_splits(
    path: Path,
) -> tuple[dict[Split, tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]], int]:
    """Read every split of a prepared directory; return split -> (images, labels), and the class count."""
    import tensorflow_datasets as tfds

    try:
        builder: Any = tfds.builder_from_directory(path)
        splits = {}
        for split, instruction in TFDS_SPLITS.items():
            source = builder.as_data_source(instruction, file_format="array_record")
            splits[split] = _read_source(source, builder.info.splits[instruction].num_examples)
        return splits, builder.info.features["label"].num_classes
    except ImportError:
        raise
    # The remedy is the same for all errors of TFDS, protobuf and array_record.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DatasetNotPreparedError(
            f"the data in {path} is damaged ({reason}): delete that directory and prepare it again."
        ) from error


def _read_source(source: Any, expected: int) -> tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]:
    """Read a complete TFDS data source, in order; `expected` is the number of examples in its metadata."""
    if len(source) != expected or expected == 0:
        raise UsageError(f"{len(source)} examples where the metadata says {expected}")
    images, labels = [], []
    for start in range(0, expected, _READ_CHUNK):
        examples = source.__getitems__(range(start, min(start + _READ_CHUNK, expected)))
        images.append(np.stack([example["image"] for example in examples]))
        labels.append(np.array([example["label"] for example in examples], dtype=np.int32))
    return np.concatenate(images), np.concatenate(labels)

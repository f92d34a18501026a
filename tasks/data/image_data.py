"""Images with labels on the device, stored as uint8. Tasks hold them as a pytree."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key, UInt8

from .catalogue import SPLITS, Split
from .image_forms import pixel_moments
from .pool import Pool, Stream

Splits = dict[Split, tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]]
"""Images and labels on the host, by split."""


class Dataset(Pool):
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
        stream: where the train split's next images come from; None if it is on the device as a whole.
    """

    images: dict[str, jax.Array]
    labels: dict[str, jax.Array]
    name: str = struct.field(pytree_node=False)
    num_classes: int = struct.field(pytree_node=False)
    mean: float = struct.field(pytree_node=False)
    std: float = struct.field(pytree_node=False)
    stream: Stream | None = struct.field(pytree_node=False, default=None)

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

    @property
    def held(self) -> tuple[jax.Array, ...]:
        """The train split's images and labels."""
        return self.images["train"], self.labels["train"]

    def exchanged(self, rows: Sequence[jax.Array]) -> Dataset:
        """Return the data set with other images and labels in the train split."""
        images, labels = rows
        return self.replace(images=self.images | {"train": images}, labels=self.labels | {"train": labels})


def on_device(
    splits: Splits, name: str, num_classes: int, moments: tuple[float, float] | None = None
) -> Dataset:
    """Put a data set's splits on the device.

    Args:
        splits: images and labels by split.
        name: the data set's name.
        num_classes: number of classes.
        moments: mean and standard deviation of the train split's pixels, if they are known.
    """
    mean, std = moments or pixel_moments(splits["train"][0])
    # Otherwise a first call inside a traced function would cache that trace's values.
    with jax.ensure_compile_time_eval():
        # Copied, because they may be files, which somebody may change.
        images = {split: jnp.array(splits[split][0]) for split in SPLITS}
        labels = {split: jnp.array(splits[split][1]) for split in SPLITS}
    return Dataset(images=images, labels=labels, name=name, num_classes=num_classes, mean=mean, std=std)

"""Networks on the patches of small images: what a vision transformer and an MLP-mixer share."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch
from ..classifier import Classifier
from ..data.datasets import Dataset
from ..data.prepared import Split
from ..errors import UsageError
from ..layers import Layers, Shapes, check_ranges, dense, dense_shapes, draw_layers, draw_size, log_uniform
from .batches import count_rows, draw_images


class PatchInstance(NamedTuple):
    """One member of a family."""

    blocks: Any
    """What the blocks between the patches and the output draw."""
    initial_scale: Float[Array, ""]
    """Factor of all kernels at the start, but for the first."""
    embedding_scale: Float[Array, ""]
    """Factor of what maps patches and places to features at the start."""
    batch_size: Int[Array, ""]


class PatchClassifier(Classifier):
    """Classify images by blocks over their square patches, the mean over patches, and a dense layer.

    All ranges are inclusive; with equal ends the entry is constant. Subclasses have the blocks.

    Raises:
        UsageError: for an empty range, or if the patches don't tile the images.
    """

    dataset: Dataset
    depths: tuple[int, int] = struct.field(pytree_node=False, default=(2, 2))
    activations: tuple[str, ...] = struct.field(pytree_node=False, default=("gelu",))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    embedding_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    batch_sizes: tuple[int, int] = struct.field(pytree_node=False, default=(32, 32))
    features: int = struct.field(pytree_node=False, default=32)
    patch: int = struct.field(pytree_node=False, default=2)

    def __post_init__(self) -> None:
        check_ranges(
            depths=self.depths,
            initial_scales=self.initial_scales,
            embedding_scales=self.embedding_scales,
            batch_sizes=self.batch_sizes,
        )
        height, width = self.dataset.images["train"].shape[1:3]
        if height % self.patch or width % self.patch:
            raise UsageError(f"patches of {self.patch} do not tile images of {height} x {width}")

    @abc.abstractmethod
    def sample_blocks(self, key: Key[Array, ""]) -> Any:
        """Draw what is random about the blocks."""

    @abc.abstractmethod
    def block_shapes(self) -> Shapes:
        """Return the shapes of the blocks' parameters."""

    @abc.abstractmethod
    def scale_blocks(self, blocks: Any, layers: Layers) -> None:
        """Scale the blocks' initial parameters in place."""

    @abc.abstractmethod
    def apply_blocks(
        self, blocks: Any, layers: Layers, x: Float[Array, "rows patches features"]
    ) -> Float[Array, "rows patches features"]:
        """Return the blocks' outputs."""

    def sample(self, key: Key[Array, ""]) -> PatchInstance:
        """Draw a member: the blocks' entries uniformly, scales and batch size log-uniformly."""
        keys = jax.random.split(key, 4)
        return PatchInstance(
            blocks=self.sample_blocks(keys[0]),
            initial_scale=log_uniform(keys[1], *self.initial_scales),
            embedding_scale=log_uniform(keys[2], *self.embedding_scales),
            batch_size=draw_size(keys[3], self.batch_sizes),
        )

    def init(self, instance: PatchInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        inputs = self.patch**2 * self.dataset.images["train"].shape[-1]
        shapes: Shapes = {
            "patches": dense_shapes(inputs, self.features),
            **self.block_shapes(),
            "output": dense_shapes(self.features, self.num_classes),
        }
        layers = draw_layers(key, shapes)
        for name, layer in layers.items():
            if "kernel" in layer and name != "patches":
                layer["kernel"] *= instance.initial_scale
            if "embedding" in layer:
                layer["embedding"] *= instance.embedding_scale
        layers["patches"]["kernel"] *= instance.embedding_scale
        self.scale_blocks(instance.blocks, layers)
        return layers

    def batch(self, instance: PatchInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw examples with replacement; as many as the member's batch size have nonzero weight."""
        batch = draw_images(self.dataset, key, split, self.batch_sizes[1])
        return count_rows(batch, self.batch_sizes, instance.batch_size)

    @property
    def num_classes(self) -> int:
        return self.dataset.num_classes

    @property
    def num_patches(self) -> int:
        """The number of patches of an image."""
        height, width = self.dataset.images["train"].shape[1:3]
        return (height // self.patch) * (width // self.patch)

    def logits(self, instance: PatchInstance, params: Layers, batch: Batch) -> Float[Array, "rows classes"]:
        """Return the output layer applied to the mean over the patches."""
        images = batch.inputs.reshape(-1, *self.dataset.images["train"].shape[1:])
        x = dense(params["patches"], cut_patches(images, self.patch))
        x = self.apply_blocks(instance.blocks, params, x)
        return dense(params["output"], jnp.mean(x, axis=1))


def cut_patches(
    images: Float[Array, "rows height width channels"], patch: int
) -> Float[Array, "rows patches values"]:
    """Cut images into square patches, row by row, each flattened."""
    rows, height, width, channels = images.shape
    grid = images.reshape(rows, height // patch, patch, width // patch, patch, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(rows, -1, patch**2 * channels)

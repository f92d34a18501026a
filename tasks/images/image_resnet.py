"""Residual networks with group normalisation on small images, as a parametric family."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..classifier import Classifier
from ..data.datasets import Dataset, load_dataset
from ..data.prepared import Split
from ..layers import (
    Layers,
    Shapes,
    align,
    check_choices,
    check_ranges,
    dense,
    dense_shapes,
    draw_index,
    draw_layers,
    draw_scale,
    draw_size,
    draw_whole,
    log_uniform,
    normalise,
    scale_and_shift,
)
from ..perceptron import activate, check_activations, live_units
from ..registry import register
from .batches import count_rows, draw_images
from .image_conv import convolve


class ResNetInstance(NamedTuple):
    """One member of the family; every entry is a scalar."""

    blocks: Int[Array, ""]
    groups: Int[Array, ""]
    activation: Int[Array, ""]
    """Index into the family's `activations`."""
    initial_scale: Float[Array, ""]
    branch_scale: Float[Array, ""]
    """Further factor of the last kernel of every block."""
    batch_size: Int[Array, ""]


class ImageResNet(Classifier):
    """Classify images with a residual network of pre-activation blocks and group normalisation.

    It consists of a 3 x 3 convolution, a 2 x 2 mean pooling, blocks of twice (normalise, activate, convolve),
    the mean over all pixels, and a dense layer. All ranges are inclusive. The width is the number of groups,
    of `group_channels` channels each: a narrower member masks the last groups, which are normalised on their
    own, so that the others are those of a network of its size. A shallower member skips the last blocks. With
    a branch scale of 0, every block is the identity at the start.

    References:
        He et al. 2016, arXiv:1603.05027; Wu and He 2018, arXiv:1803.08494; Goyal et al. 2017,
        arXiv:1706.02677 (blocks that start as the identity).

    Raises:
        UsageError: for an empty range, or an unknown activation.
    """

    dataset: Dataset
    blocks: tuple[int, int] = struct.field(pytree_node=False, default=(2, 2))
    groups: tuple[int, int] = struct.field(pytree_node=False, default=(4, 4))
    group_channels: int = struct.field(pytree_node=False, default=4)
    activations: tuple[str, ...] = struct.field(pytree_node=False, default=("relu",))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    branch_scales: tuple[float, ...] = struct.field(pytree_node=False, default=(1.0,))
    batch_sizes: tuple[int, int] = struct.field(pytree_node=False, default=(32, 32))

    def __post_init__(self) -> None:
        check_ranges(
            blocks=self.blocks,
            groups=self.groups,
            initial_scales=self.initial_scales,
            batch_sizes=self.batch_sizes,
        )
        check_activations(self.activations)
        check_choices(None, branch_scales=self.branch_scales)

    def sample(self, key: Key[Array, ""]) -> ResNetInstance:
        """Draw a member: initial scale and batch size log-uniformly, the rest uniformly."""
        keys = jax.random.split(key, 6)
        return ResNetInstance(
            blocks=draw_whole(keys[0], self.blocks),
            groups=draw_whole(keys[1], self.groups),
            activation=draw_index(keys[2], self.activations),
            initial_scale=log_uniform(keys[3], *self.initial_scales),
            branch_scale=draw_scale(keys[4], self.branch_scales),
            batch_size=draw_size(keys[5], self.batch_sizes),
        )

    def init(self, instance: ResNetInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases are 0, scales 1."""
        channels = self.groups[1] * self.group_channels
        shapes: Shapes = {
            "stem": {"kernel": (3, 3, self.dataset.images["train"].shape[-1], channels), "bias": (channels,)}
        }
        for index in range(2 * self.blocks[1]):
            shapes[f"norm_{index}"] = {"scale": (channels,), "bias": (channels,)}
            shapes[f"conv_{index}"] = {"kernel": (3, 3, channels, channels)}
        shapes["norm"] = {"scale": (channels,), "bias": (channels,)}
        shapes["output"] = dense_shapes(channels, self.num_classes)
        layers = draw_layers(key, shapes)
        live = self._live(instance)
        # The kernels were drawn for the largest fan in, but only some channels are in use.
        wider = jnp.sqrt(self.groups[1] / instance.groups) * instance.initial_scale
        layers["stem"]["kernel"] *= instance.initial_scale * live[None, None, None]
        for index in range(2 * self.blocks[1]):
            factor = wider * instance.branch_scale if index % 2 else wider
            layers[f"conv_{index}"]["kernel"] *= factor * live[None, None, :, None] * live[None, None, None]
        layers["output"]["kernel"] *= wider * live[:, None]
        return layers

    def batch(self, instance: ResNetInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw examples with replacement; as many as the member's batch size have nonzero weight."""
        batch = draw_images(self.dataset, key, split, self.batch_sizes[1])
        return count_rows(batch, self.batch_sizes, instance.batch_size)

    @property
    def num_classes(self) -> int:
        return self.dataset.num_classes

    def logits(self, instance: ResNetInstance, params: Layers, batch: Batch) -> Float[Array, "rows classes"]:
        """Return the output layer applied to the mean over the pixels."""
        x = convolve(params["stem"], batch.inputs.reshape(-1, *self.dataset.images["train"].shape[1:]))
        rows, height, width, channels = x.shape
        x = x[:, : height // 2 * 2, : width // 2 * 2]
        x = jnp.mean(x.reshape(rows, height // 2, 2, width // 2, 2, channels), axis=(2, 4))
        for block in range(self.blocks[1]):
            branch = x
            for index in (2 * block, 2 * block + 1):
                branch = self._activate(instance, params[f"norm_{index}"], branch)
                branch = convolve(params[f"conv_{index}"], branch)
            new = x + branch
            x = jnp.where(block < instance.blocks, new, x) if block >= self.blocks[0] else new
        x = self._activate(instance, params["norm"], x)
        return dense(params["output"], jnp.mean(x, axis=(1, 2)))

    def _activate(
        self, instance: ResNetInstance, layer: dict[str, Array], x: Float[Array, "b h w c"]
    ) -> Float[Array, "b h w c"]:
        """Normalise each image over the pixels and channels of a group, and activate; mask what is idle."""
        grouped = x.reshape(x.shape[0], -1, self.groups[1], self.group_channels)
        x = scale_and_shift(layer, normalise(grouped, (1, 3)).reshape(x.shape))
        x = activate(self.activations, instance.activation, x)
        return x * align(self._live(instance), x) if self.groups[0] != self.groups[1] else x

    def _live(self, instance: ResNetInstance) -> Float[Array, " channels"]:
        return jnp.repeat(live_units(self.groups, instance.groups), self.group_channels)


@register("digits-resnet")
def digits_resnet() -> Task:
    """Two residual blocks on 8 x 8 digits."""
    return ImageResNet(load_dataset("digits"))


@register("digits-resnet-family")
def digits_resnet_family() -> Task:
    """One or two blocks; groups of channels, activation, scales, zero outputs and batch size are drawn."""
    return ImageResNet(
        load_dataset("digits"),
        blocks=(1, 2),
        groups=(2, 4),
        activations=("relu", "gelu", "silu"),
        initial_scales=(0.5, 2.0),
        branch_scales=(0.0, 1.0),
        batch_sizes=(16, 32),
    )

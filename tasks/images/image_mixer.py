"""An MLP-mixer on small images."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..attention import layer_norm
from ..base import Task
from ..data.datasets import load_dataset
from ..layers import (
    Layers,
    Shapes,
    align,
    check_choices,
    check_ranges,
    dense,
    dense_shapes,
    draw_index,
    draw_scale,
    draw_whole,
)
from ..perceptron import activate, check_activations, live_units
from ..registry import register
from .patches import PatchClassifier


class MixerInstance(NamedTuple):
    """What is drawn of the blocks; every entry is a scalar."""

    depth: Int[Array, ""]
    width: Int[Array, ""]
    activation: Int[Array, ""]
    branch_scale: Float[Array, ""]
    """Factor of the last kernel of every perceptron in a block."""


class ImageMixer(PatchClassifier):
    """Classify images by perceptrons along the patches and along the features, in turn.

    Each perceptron has one hidden layer of at most `widths[1]` units, normalisation before it, and is added
    to its input. A narrower member masks the last hidden units; a shallower one skips the last blocks.

    References:
        Tolstikhin et al. 2021, arXiv:2105.01601.

    Raises:
        UsageError: for an empty range, an unknown activation, or patches that don't fit.
    """

    widths: tuple[int, int] = struct.field(pytree_node=False, default=(32, 32))
    branch_scales: tuple[float, ...] = struct.field(pytree_node=False, default=(1.0,))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(widths=self.widths)
        check_activations(self.activations)
        check_choices(None, branch_scales=self.branch_scales)

    def sample_blocks(self, key: Key[Array, ""]) -> MixerInstance:
        """Draw every entry uniformly."""
        keys = jax.random.split(key, 4)
        return MixerInstance(
            depth=draw_whole(keys[0], self.depths),
            width=draw_whole(keys[1], self.widths),
            activation=draw_index(keys[2], self.activations),
            branch_scale=draw_scale(keys[3], self.branch_scales),
        )

    def block_shapes(self) -> Shapes:
        """Return the shapes of all blocks, and of the last normalisation."""
        norm = {"scale": (self.features,), "bias": (self.features,)}
        shapes: Shapes = {}
        for block in range(self.depths[1]):
            for side, size in (("patch", self.num_patches), ("feature", self.features)):
                shapes[f"{side}_norm_{block}"] = norm
                shapes[f"{side}_hidden_{block}"] = dense_shapes(size, self.widths[1])
                shapes[f"{side}_output_{block}"] = dense_shapes(self.widths[1], size)
        return shapes | {"norm": norm}

    def scale_blocks(self, blocks: MixerInstance, layers: Layers) -> None:
        """Mask the hidden units that the member lacks, and scale the last kernel of every perceptron."""
        live = live_units(self.widths, blocks.width)
        # The kernels were drawn for the largest fan in, but only some units are in use.
        factor = jnp.sqrt(self.widths[1] / blocks.width) * blocks.branch_scale
        for block in range(self.depths[1]):
            for side in ("patch", "feature"):
                layers[f"{side}_hidden_{block}"]["kernel"] *= live[None]
                layers[f"{side}_output_{block}"]["kernel"] *= factor * live[:, None]

    def apply_blocks(
        self, blocks: MixerInstance, layers: Layers, x: Float[Array, "rows patches features"]
    ) -> Float[Array, "rows patches features"]:
        """Mix patches and features in every block, and normalise."""
        for block in range(self.depths[1]):
            new = self._mix(blocks, layers, "patch", block, x)
            new = self._mix(blocks, layers, "feature", block, new)
            x = jnp.where(block < blocks.depth, new, x) if block >= self.depths[0] else new
        return layer_norm(layers["norm"], x)

    def _mix(
        self, blocks: MixerInstance, layers: Layers, side: str, block: int, x: Float[Array, "r p f"]
    ) -> Float[Array, "r p f"]:
        """Add to x a perceptron along one of its axes."""
        normed = layer_norm(layers[f"{side}_norm_{block}"], x)
        normed = jnp.swapaxes(normed, 1, 2) if side == "patch" else normed
        hidden = dense(layers[f"{side}_hidden_{block}"], normed)
        hidden = activate(self.activations, blocks.activation, hidden)
        if self.widths[0] != self.widths[1]:
            hidden = hidden * align(live_units(self.widths, blocks.width), hidden)
        mixed = dense(layers[f"{side}_output_{block}"], hidden)
        return x + (jnp.swapaxes(mixed, 1, 2) if side == "patch" else mixed)


@register("digits-mixer")
def digits_mixer() -> Task:
    """Two blocks on the sixteen patches of 8 x 8 digits."""
    return ImageMixer(load_dataset("digits"))


@register("digits-mixer-family")
def digits_mixer_family() -> Task:
    """One or two blocks; width, activation, scales, zero outputs and batch size are drawn."""
    return ImageMixer(
        load_dataset("digits"),
        depths=(1, 2),
        activations=("relu", "gelu", "tanh"),
        initial_scales=(0.8, 1.25),
        embedding_scales=(0.3, 2.0),
        batch_sizes=(16, 32),
        widths=(16, 32),
        branch_scales=(0.0, 1.0),
    )

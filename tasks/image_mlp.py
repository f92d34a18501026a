"""Multilayer perceptrons on small images, as a parametric family."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import Task
from .datasets import Dataset, Split
from .layers import share_right

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
}


class MLPInstance(NamedTuple):
    """One member of the family; every entry is a scalar."""

    width: Int[Array, ""]
    depth: Int[Array, ""]
    activation: Int[Array, ""]
    """Index into the family's `activations`."""
    initial_scale: Float[Array, ""]
    batch_size: Int[Array, ""]


class ImageBatch(NamedTuple):
    """Images with a weight each: a smaller batch is one whose last weights are zero."""

    images: Float[Array, "batch pixels"]
    labels: Int[Array, " batch"]
    weights: Float[Array, " batch"]


class ImageMLP(Task):
    """Classify images with an MLP whose shape, activation, initialisation and batch size may be drawn.

    Every range is inclusive; equal ends make the entry constant, and then it costs nothing. Shapes are those
    of the largest member: a narrower one masks its last hidden units, whose weights start at zero and get no
    gradient; a shallower one skips its last hidden layers. The meta-learned rules see these zeros as they
    would see dead units.

    Raises:
        ValueError: for an empty range or an unknown activation.
    """

    dataset: Dataset
    widths: tuple[int, int] = struct.field(pytree_node=False, default=(32, 32))
    depths: tuple[int, int] = struct.field(pytree_node=False, default=(1, 1))
    activations: tuple[str, ...] = struct.field(pytree_node=False, default=("relu",))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    batch_sizes: tuple[int, int] = struct.field(pytree_node=False, default=(128, 128))

    def __post_init__(self) -> None:
        ranges = {name: getattr(self, name) for name in ("widths", "depths", "initial_scales", "batch_sizes")}
        for name, (low, high) in ranges.items():
            if not 0 < low <= high:
                raise ValueError(f"{name}=({low}, {high}) is no range: give two positive numbers, low first")
        unknown = set(self.activations) - ACTIVATIONS.keys()
        if unknown or not self.activations:
            raise ValueError(f"activations {sorted(unknown)} are unknown; there are {', '.join(ACTIVATIONS)}")

    def sample(self, key: Key[Array, ""]) -> MLPInstance:
        """Draw a member: integers and activations uniformly, batch size and scale log-uniformly."""
        keys = jax.random.split(key, 5)
        log_uniform = lambda k, low, high: jnp.exp(  # noqa: E731
            jax.random.uniform(k, minval=math.log(low), maxval=math.log(high))
        )
        low, high = self.batch_sizes
        return MLPInstance(
            width=jax.random.randint(keys[0], (), self.widths[0], self.widths[1] + 1),
            depth=jax.random.randint(keys[1], (), self.depths[0], self.depths[1] + 1),
            activation=jax.random.randint(keys[2], (), 0, len(self.activations)),
            initial_scale=log_uniform(keys[3], *self.initial_scales),
            batch_size=jnp.clip(jnp.round(log_uniform(keys[4], low, high)), low, high).astype(jnp.int32),
        )

    def init(self, instance: MLPInstance, key: Key[Array, ""]) -> dict[str, dict[str, Array]]:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        height, width, channels = self.dataset.images["train"].shape[1:]
        units = [height * width * channels, *[self.widths[1]] * self.depths[1], self.dataset.num_classes]
        sizes = [fan_in * fan_out for fan_in, fan_out in itertools.pairwise(units)]
        # One draw for all layers: each separate draw takes seconds to compile.
        draws = jnp.split(jax.random.truncated_normal(key, -2, 2, (sum(sizes),)), np.cumsum(sizes)[:-1])
        live = self._live_units(instance)
        layers = {}
        for index, (fan_in, fan_out) in enumerate(itertools.pairwise(units)):
            kernel = draws[index].reshape(fan_in, fan_out)
            if index > 0:
                kernel = kernel * live[:, None]
                fan_in = instance.width if self._varies("widths") else fan_in
            if index < len(units) - 2:
                kernel = kernel * live[None, :]
            kernel = kernel * instance.initial_scale / jnp.sqrt(fan_in)
            layers[_layer_name(index)] = {"kernel": kernel, "bias": jnp.zeros(fan_out)}
        return layers

    def batch(self, instance: MLPInstance, key: Key[Array, ""], split: Split) -> ImageBatch:
        """Draw examples with replacement; a member's batch size sets how many of them count."""
        size = self.batch_sizes[1]
        images, labels = self.dataset.batch(key, split, size)
        weights = jnp.full(size, 1 / size)
        if self._varies("batch_sizes"):
            weights = (jnp.arange(size) < instance.batch_size) / instance.batch_size
        return ImageBatch(images.reshape(size, -1), labels, weights)

    def loss(
        self,
        instance: MLPInstance,
        params: dict[str, dict[str, Array]],
        batch: ImageBatch,
        key: Key[Array, ""],
    ) -> Float[Array, ""]:
        """Return the cross-entropy in nats."""
        logits = self._logits(instance, params, batch.images)
        return batch.weights @ optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)

    def accuracy(
        self,
        instance: MLPInstance,
        params: dict[str, dict[str, Array]],
        batch: ImageBatch,
        key: Key[Array, ""],
    ) -> Float[Array, ""]:
        """Return the share of examples that are classified rightly."""
        return share_right(self._logits(instance, params, batch.images), batch.labels, batch.weights)

    @property
    def ceiling(self) -> float:
        """Four times the loss of guessing, in nats: above every initial loss of the registered families."""
        return 4 * math.log(self.dataset.num_classes)

    def _logits(
        self, instance: MLPInstance, params: dict[str, dict[str, Array]], images: Float[Array, "rows pixels"]
    ) -> Float[Array, "rows classes"]:
        live = self._live_units(instance)
        hidden = images
        for index in range(self.depths[1]):
            layer = params[_layer_name(index)]
            new = self._activate(instance, hidden @ layer["kernel"] + layer["bias"])
            if self._varies("widths"):
                new = new * live
            skipped = index >= self.depths[0]
            hidden = jnp.where(index < instance.depth, new, hidden) if skipped else new
        output = params[_layer_name(self.depths[1])]
        return hidden @ output["kernel"] + output["bias"]

    def _varies(self, name: str) -> bool:
        low, high = getattr(self, name)
        return low != high

    def _live_units(self, instance: MLPInstance) -> Float[Array, " width"]:
        if not self._varies("widths"):
            return jnp.ones(self.widths[1])
        return (jnp.arange(self.widths[1]) < instance.width).astype(jnp.float32)

    def _activate(self, instance: MLPInstance, x: Array) -> Array:
        functions = [ACTIVATIONS[name] for name in self.activations]
        if len(functions) == 1:
            return functions[0](x)
        return jax.lax.switch(instance.activation, functions, x)


def _layer_name(index: int) -> str:
    return f"layer_{index}"

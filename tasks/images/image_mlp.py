"""Multilayer perceptrons on small images, as a parametric family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..classifier import Classifier
from ..data.datasets import Dataset, load_dataset
from ..data.prepared import Split
from ..hyperparameters import Bounded, Hyperparameter, Integer
from ..layers import Layers, check_ranges, draw_index, draw_size, draw_whole, log_uniform
from ..perceptron import Perceptron, PerceptronInstance, check_activations
from ..registry import register
from .batches import count_pixels, count_rows, draw_images


class MLPInstance(NamedTuple):
    """One member of the family: a perceptron's entries, and a batch size; each is a scalar."""

    width: Int[Array, ""]
    depth: Int[Array, ""]
    activation: Int[Array, ""]
    """Index into the family's `activations`."""
    initial_scale: Float[Array, ""]
    batch_size: Int[Array, ""]


class ImageMLP(Classifier):
    """Classify images with an MLP whose shape, activation, initialisation and batch size may be drawn.

    All ranges are inclusive; with equal ends the entry is constant and costs nothing. See `Perceptron` for
    how members of different shapes share one program. To learned rules, the zeros of the units that a member
    lacks look like dead units.

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
        check_ranges(
            widths=self.widths,
            depths=self.depths,
            initial_scales=self.initial_scales,
            batch_sizes=self.batch_sizes,
        )
        check_activations(self.activations)

    def sample(self, key: Key[Array, ""]) -> MLPInstance:
        """Draw a member: integers and activations uniformly, batch size and scale log-uniformly."""
        keys = jax.random.split(key, 5)
        return MLPInstance(
            width=draw_whole(keys[0], self.widths),
            depth=draw_whole(keys[1], self.depths),
            activation=draw_index(keys[2], self.activations),
            initial_scale=log_uniform(keys[3], *self.initial_scales),
            batch_size=draw_size(keys[4], self.batch_sizes),
        )

    def init(self, instance: MLPInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        perceptron = self._perceptron(count_pixels(self.dataset))
        return perceptron.init(PerceptronInstance(*instance[:4]), key)

    def batch(self, instance: MLPInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw examples with replacement; as many as the member's batch size have nonzero weight."""
        batch = draw_images(self.dataset, key, split, self.batch_sizes[1])
        return count_rows(batch, self.batch_sizes, instance.batch_size)

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """Each entry of the member whose range is not a single value, but for the activation."""
        ranges: dict[str, tuple[int, int]] = {
            "width": self.widths,
            "depth": self.depths,
            "batch_size": self.batch_sizes,
        }
        whole = {
            name: Hyperparameter(Integer(*ends, log=name == "batch_size"), ends)
            for name, ends in ranges.items()
            if ends[0] < ends[1]
        }
        low, high = self.initial_scales
        if low == high:
            return whole
        return whole | {"initial_scale": Hyperparameter(Bounded(low, high, log=True), (low, high))}

    def tuned(self, instance: MLPInstance, values: Mapping[str, Float[Array, ""]]) -> MLPInstance:
        """Return the member of that width, depth, batch size or initial scale."""
        whole = {name: value.astype(jnp.int32) for name, value in values.items() if name != "initial_scale"}
        return instance._replace(**dict(values) | whole)

    @property
    def num_classes(self) -> int:
        return self.dataset.num_classes

    def logits(self, instance: MLPInstance, params: Layers, batch: Batch) -> Float[Array, "rows classes"]:
        """Return the perceptron's outputs for the pixels."""
        perceptron = self._perceptron(batch.inputs.shape[-1])
        return perceptron.apply(PerceptronInstance(*instance[:4]), params, batch.inputs)

    def _perceptron(self, inputs: int) -> Perceptron:
        shapes = self.widths, self.depths, self.activations, self.initial_scales
        return Perceptron(inputs, self.num_classes, *shapes)


def _image_tasks(dataset: str) -> None:
    @register(f"{dataset.replace('_', '-')}-mlp")
    def one() -> Task:
        return ImageMLP(load_dataset(dataset))

    @register(f"{dataset.replace('_', '-')}-mlp-family")
    def family() -> Task:
        return ImageMLP(
            load_dataset(dataset),
            widths=(16, 48),
            depths=(1, 2),
            activations=("relu", "tanh", "gelu"),
            initial_scales=(0.8, 1.25),
            batch_sizes=(32, 128),
        )


for _dataset in ("digits", "mnist", "fashion_mnist"):
    _image_tasks(_dataset)

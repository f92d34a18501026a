"""A perceptron on images whose regularisation and widths are there to be tuned."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Batch
from ..classifier import Classifier
from ..data.datasets import Dataset, load_dataset
from ..data.prepared import Split
from ..errors import UsageError
from ..hyperparameters import Bounded, Hyperparameter, Integer
from ..layers import Layers, dense, dense_shapes, draw_layers
from ..registry import register
from .batches import count_pixels, draw_images


class Regularised(NamedTuple):
    """Hyperparameters of a member; each is a scalar but the last."""

    dropout: Float[Array, ""]
    """Share of hidden units that a training step leaves out."""
    label_smoothing: Float[Array, ""]
    """Share of a label's probability that is spread over all classes in training."""
    input_noise: Float[Array, ""]
    """Standard deviation of the noise on training images, in units of theirs."""
    widths: Float[Array, " layers"]
    """Hidden units of each layer that are used; whole numbers."""


class TunableMLP(Classifier):
    """Classify images with an MLP of ReLU layers; dropout, smoothing, noise and widths are hyperparameters.

    Layers have `width` units, of which a member uses its first ones: the output of the others is masked. What
    regularises is off unless it is tuned, and off wherever a loss is measured (`Hyperparameter.measured`).

    Raises:
        UsageError: for a depth, width or batch size below 1.
    """

    dataset: Dataset
    width: int = struct.field(pytree_node=False, default=100)
    depth: int = struct.field(pytree_node=False, default=2)
    batch_size: int = struct.field(pytree_node=False, default=100)

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.batch_size) < 1:
            raise UsageError("width, depth and batch_size must be at least 1")

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """Dropout, label smoothing, input noise, and the width of each layer."""
        widths = {
            f"width_{layer}": Hyperparameter(
                Integer(1, self.width),
                (max(1, round(0.2 * self.width)), max(1, round(0.8 * self.width))),
                f"units of hidden layer {layer}",
            )
            for layer in range(1, self.depth + 1)
            if self.width > 1
        }
        return {
            "dropout": Hyperparameter(Bounded(0, 0.9), 0.1, "share of hidden units left out", measured=0),
            "label_smoothing": Hyperparameter(Bounded(0, 0.5), 0.05, "share spread over classes", measured=0),
            "input_noise": Hyperparameter(Bounded(0, 3), 0.1, "standard deviation", measured=0),
            **widths,
        }

    def sample(self, key: Key[Array, ""]) -> Regularised:
        """Return the member that uses all units, and does not regularise."""
        nothing = jnp.zeros((), jnp.float32)
        return Regularised(nothing, nothing, nothing, jnp.full(self.depth, self.width, jnp.float32))

    def tuned(self, instance: Regularised, values: Mapping[str, Float[Array, ""]]) -> Regularised:
        """Return the member of these hyperparameters."""
        widths, others = instance.widths, dict(values)
        for layer in range(self.depth):
            if f"width_{layer + 1}" in others:
                widths = widths.at[layer].set(others.pop(f"width_{layer + 1}"))
        return instance._replace(widths=widths, **others)

    def init(self, instance: Regularised, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale 1 / sqrt(fan in); biases start at zero."""
        units = [count_pixels(self.dataset), *[self.width] * self.depth, self.num_classes]
        return draw_layers(
            key, {f"layer_{n}": dense_shapes(*sizes) for n, sizes in enumerate(itertools.pairwise(units))}
        )

    def batch(self, instance: Regularised, key: Key[Array, ""], split: Split) -> Batch:
        """Draw examples with replacement."""
        return draw_images(self.dataset, key, split, self.batch_size)

    @property
    def num_classes(self) -> int:
        return self.dataset.num_classes

    def loss(
        self, instance: Regularised, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross-entropy in nats, under the member's noise, dropout and smoothed labels."""
        noise_key, dropout_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, batch.inputs.shape, jnp.float32)
        noisy = batch._replace(inputs=batch.inputs + instance.input_noise * noise)
        logits = self._apply(instance, params, noisy, dropout_key)
        targets = optax.smooth_labels(
            jax.nn.one_hot(batch.targets, self.num_classes, dtype=jnp.float32), instance.label_smoothing
        )
        return batch.weights @ optax.softmax_cross_entropy(logits, targets)

    def logits(self, instance: Regularised, params: Layers, batch: Batch) -> Float[Array, "rows classes"]:
        """Return the logits without dropout."""
        return self._apply(instance, params, batch, None)

    def _apply(
        self, instance: Regularised, params: Layers, batch: Batch, key: Key[Array, ""] | None
    ) -> Float[Array, "rows classes"]:
        x, unit = batch.inputs, jnp.arange(self.width, dtype=jnp.float32)
        for layer in range(self.depth):
            x = jax.nn.relu(dense(params[f"layer_{layer}"], x))
            x = x * (unit < instance.widths[layer]).astype(x.dtype)[None]
            if key is not None:
                kept = jax.random.uniform(jax.random.fold_in(key, layer), x.shape) >= instance.dropout
                x = x * kept.astype(x.dtype) / (1 - instance.dropout)
        return dense(params[f"layer_{self.depth}"], x)


@register("tunable-digits-mlp")
def tunable_digits_mlp() -> TunableMLP:
    """Return two hidden layers of at most 64 units on digits."""
    return TunableMLP(load_dataset("digits"), width=64)


@register("tunable-fashion-mnist-mlp")
def tunable_fashion_mnist_mlp() -> TunableMLP:
    """Return five hidden layers of at most 100 units on Fashion-MNIST."""
    return TunableMLP(load_dataset("fashion_mnist"), depth=5)

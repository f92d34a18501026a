"""Embeddings of images in which like images are near: triplets of labelled ones, or pairs of views."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..data.datasets import Dataset, load_dataset
from ..data.prepared import Split
from ..layers import Layers, check_ranges, draw_size, log_uniform
from ..perceptron import Perceptron, PerceptronInstance
from ..registry import register
from .batches import count_pixels, count_rows, draw_images


class EmbeddingInstance(NamedTuple):
    """One member of a family."""

    perceptron: PerceptronInstance
    strictness: Float[Array, ""]
    """The margin of triplets, or the temperature of contrasts."""
    batch_size: Int[Array, ""]


class _Embedding(Task):
    """Map images to unit vectors by a perceptron. All ranges are inclusive."""

    dataset: Dataset
    widths: tuple[int, int] = struct.field(pytree_node=False, default=(48, 48))
    depths: tuple[int, int] = struct.field(pytree_node=False, default=(1, 1))
    activations: tuple[str, ...] = struct.field(pytree_node=False, default=("relu",))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    batch_sizes: tuple[int, int] = struct.field(pytree_node=False, default=(32, 32))
    strictness: tuple[float, float] = struct.field(pytree_node=False, default=(0.5, 0.5))
    features: int = struct.field(pytree_node=False, default=16)

    def __post_init__(self) -> None:
        check_ranges(batch_sizes=self.batch_sizes, strictness=self.strictness)
        self._perceptron()  # it checks the rest

    def sample(self, key: Key[Array, ""]) -> EmbeddingInstance:
        """Draw a perceptron; margin or temperature and batch size log-uniformly."""
        keys = jax.random.split(key, 3)
        return EmbeddingInstance(
            perceptron=self._perceptron().sample(keys[0]),
            strictness=log_uniform(keys[1], *self.strictness),
            batch_size=draw_size(keys[2], self.batch_sizes),
        )

    def init(self, instance: EmbeddingInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        return self._perceptron().init(instance.perceptron, key)

    def batch(self, instance: EmbeddingInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw examples with replacement; as many as the member's batch size have nonzero weight."""
        batch = draw_images(self.dataset, key, split, self.batch_sizes[1])
        return count_rows(batch, self.batch_sizes, instance.batch_size)

    def embed(
        self, instance: EmbeddingInstance, params: Layers, images: Float[Array, "rows pixels"]
    ) -> Float[Array, "rows features"]:
        """Return vectors of length 1."""
        x = self._perceptron().apply(instance.perceptron, params, images)
        return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-6)

    def _perceptron(self) -> Perceptron:
        shapes = self.widths, self.depths, self.activations, self.initial_scales
        return Perceptron(count_pixels(self.dataset), self.features, *shapes)


class TripletEmbedding(_Embedding):
    """Embed images so that those of a class are nearer to one another than to others, by a margin.

    The loss is the mean of max(0, margin + d(a, p) - d(a, n)) over all triplets of the batch in which p is
    another image of a's class and n one of another class; d is the squared distance of unit vectors, from 0
    to 4. The mean is over the triplets of each a, and then over all a; one without triplets counts as 0.

    References:
        Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832; Hermans, Beyer and Leibe 2017,
        arXiv:1703.07737 (all triplets of a batch).

    Raises:
        UsageError: for an empty range, or an unknown activation.
    """

    def loss(
        self, instance: EmbeddingInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean violation of the margin."""
        x = self.embed(instance, params, batch.inputs)
        return batch.weights @ triplet_losses(x, batch.targets, batch.weights > 0, instance.strictness)

    def accuracy(
        self, instance: EmbeddingInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the share of images whose nearest neighbour in the batch has the same label."""
        x, rows = self.embed(instance, params, batch.inputs), jnp.arange(batch.targets.size)
        others = (rows[:, None] != rows[None]) & (batch.weights > 0)[None]
        nearest = jnp.argmax(jnp.where(others, x @ x.T, -jnp.inf), axis=-1)
        right = (batch.targets[nearest] == batch.targets) & jnp.isfinite(x).all(axis=-1)
        return jnp.sum(jnp.where(right, batch.weights, 0))

    @property
    def ceiling(self) -> float:
        """Four times the loss of embedding all images at one point."""
        return 4 * self.strictness[1]


class ContrastiveEmbedding(_Embedding):
    """Embed two views of an image near each other and far from views of other images; labels are not used.

    A view is moved by up to `shift` pixels, its contrast is multiplied by a log-normal number, and noise is
    added. The loss is the cross-entropy of finding the other view among all others of the batch, with cosines
    divided by the temperature as logits (NT-Xent), in nats.

    References:
        Chen, Kornblith, Norouzi and Hinton 2020, arXiv:2002.05709.

    Raises:
        UsageError: for an empty range, or an unknown activation.
    """

    shift: int = struct.field(pytree_node=False, default=1)
    noise: float = struct.field(pytree_node=False, default=0.3)

    def batch(self, instance: EmbeddingInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw examples with replacement, and two views of each: inputs are [rows, 2, pixels]."""
        batch_key, view_key = jax.random.split(key)
        batch = super().batch(instance, batch_key, split)
        pairs = jnp.repeat(batch.inputs, 2, axis=0)
        return batch._replace(inputs=self._views(view_key, pairs).reshape(batch.inputs.shape[0], 2, -1))

    def loss(
        self, instance: EmbeddingInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross-entropy of finding the other view, in nats."""
        rows = batch.inputs.shape[0]
        x = self.embed(instance, params, batch.inputs.reshape(2 * rows, -1))
        losses = contrastive_losses(x, jnp.repeat(batch.weights > 0, 2), instance.strictness)
        return batch.weights @ jnp.mean(losses.reshape(rows, 2), axis=-1)

    @property
    def ceiling(self) -> float:
        """Four times the loss of guessing."""
        return 4 * math.log(2 * self.batch_sizes[1] - 1)

    def _views(self, key: Key[Array, ""], images: Float[Array, "n pixels"]) -> Float[Array, "n pixels"]:
        height, width, channels = self.dataset.images["train"].shape[1:]
        count, reach = images.shape[0], self.shift
        keys = jax.random.split(key, 3)
        black = -self.dataset.mean / self.dataset.std
        bright = images.reshape(count, height, width, channels) - black
        bright = jnp.pad(bright, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
        moves = jax.random.randint(keys[0], (2, count, 1, 1), 0, 2 * reach + 1)
        down = moves[0] + jnp.arange(height)[None, :, None]
        right = moves[1] + jnp.arange(width)[None, None]
        moved = bright[jnp.arange(count)[:, None, None], down, right].reshape(count, -1)
        contrast = jnp.exp(0.3 * jax.random.normal(keys[1], (count, 1)))
        return moved * contrast + black + self.noise * jax.random.normal(keys[2], moved.shape)


def triplet_losses(
    x: Float[Array, "rows features"], labels: Int[Array, " rows"], counts: Array, margin: Float[Array, ""]
) -> Float[Array, " rows"]:
    """Return every row's mean loss over the triplets that it is the anchor of, of rows that count."""
    rows = jnp.arange(labels.size)
    distances = jnp.sum(jnp.square(x[:, None] - x[None]), axis=-1)
    same = labels[:, None] == labels[None]
    positive = same & (rows[:, None] != rows[None]) & counts[None]
    negative = ~same & counts[None]
    triplets = positive[:, :, None] & negative[:, None]
    violations = jax.nn.relu(margin + distances[:, :, None] - distances[:, None])
    number = jnp.sum(triplets, axis=(1, 2), dtype=jnp.float32)
    return jnp.sum(jnp.where(triplets, violations, 0), axis=(1, 2)) / jnp.maximum(number, 1)


def contrastive_losses(
    x: Float[Array, "views features"], counts: Array, temperature: Float[Array, ""]
) -> Float[Array, " views"]:
    """Return the cross-entropy of finding every view's partner, which is its neighbour in the list."""
    views = jnp.arange(x.shape[0])
    candidates = (views[:, None] != views[None]) & counts[None]
    cosines = x @ x.T / temperature
    partners = cosines[views, views ^ 1]
    # A partner of a row that doesn't count is not among the candidates; its loss has no weight.
    return jax.nn.logsumexp(jnp.where(candidates, cosines, -jnp.inf), axis=-1) - partners


@register("digits-triplets")
def digits_triplets() -> Task:
    """Sixteen numbers for 8 x 8 digits, by their labels."""
    return TripletEmbedding(load_dataset("digits"))


@register("digits-contrastive")
def digits_contrastive() -> Task:
    """Sixteen numbers for 8 x 8 digits, by views of them."""
    return ContrastiveEmbedding(load_dataset("digits"), strictness=(0.2, 0.2))


@register("digits-triplets-family")
def digits_triplets_family() -> Task:
    """Margin, width, depth, activation, initial scale and batch size are drawn."""
    choices = ("relu", "tanh", "gelu")
    sizes = (24, 64), (1, 2), choices, (0.8, 1.25), (16, 32)
    return TripletEmbedding(load_dataset("digits"), *sizes, strictness=(0.2, 1.0))


@register("digits-contrastive-family")
def digits_contrastive_family() -> Task:
    """Temperature, width, depth, activation, initial scale and batch size are drawn."""
    choices = ("relu", "tanh", "gelu")
    sizes = (24, 64), (1, 2), choices, (0.8, 1.25), (16, 32)
    return ContrastiveEmbedding(load_dataset("digits"), *sizes, strictness=(0.1, 0.5))

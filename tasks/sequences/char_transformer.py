"""A transformer as a language model of characters."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..data.prepared import Split
from ..data.text import ALPHABET, Text, load_text
from ..errors import UsageError
from ..layers import (
    Layers,
    Shapes,
    align,
    check_ranges,
    dense,
    dense_shapes,
    draw_layers,
    log_uniform,
    normalise,
    scale_and_shift,
    share_right,
)
from ..registry import register


class TransformerInstance(NamedTuple):
    """One member of the family; every entry is a scalar."""

    depth: Int[Array, ""]
    initial_scale: Float[Array, ""]
    """Factor of the kernels at the start."""
    embedding_scale: Float[Array, ""]
    """Factor of the embeddings of symbols and positions at the start."""
    head_scale: Float[Array, ""]
    """Further factor of the output layer's kernel."""


class CharTransformer(Task):
    """Predict each next character with causal attention over embeddings of symbols and positions.

    Normalisation comes before attention and before the feed-forward layer, whose width is twice the features.
    All ranges are inclusive. A shallower member skips the last layers, which then get no gradient.

    References:
        Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745 (normalisation first).

    Raises:
        UsageError: for an empty range, or if the number of heads does not divide the features.
    """

    text: Text
    depths: tuple[int, int] = struct.field(pytree_node=False, default=(1, 1))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    embedding_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    head_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    features: int = struct.field(pytree_node=False, default=32)
    heads: int = struct.field(pytree_node=False, default=2)
    length: int = struct.field(pytree_node=False, default=24)
    batch_size: int = struct.field(pytree_node=False, default=16)

    def __post_init__(self) -> None:
        check_ranges(
            depths=self.depths,
            initial_scales=self.initial_scales,
            embedding_scales=self.embedding_scales,
            head_scales=self.head_scales,
        )
        if self.features % self.heads:
            raise UsageError(f"{self.heads} heads do not divide {self.features} features: give a divisor")

    def sample(self, key: Key[Array, ""]) -> TransformerInstance:
        """Draw a member: depth uniformly, the scales log-uniformly."""
        depth_key, scale_key = jax.random.split(key)
        embedding_key, head_key = (jax.random.fold_in(key, number) for number in (1, 2))
        return TransformerInstance(
            depth=jax.random.randint(depth_key, (), self.depths[0], self.depths[1] + 1),
            initial_scale=log_uniform(scale_key, *self.initial_scales),
            embedding_scale=log_uniform(embedding_key, *self.embedding_scales),
            head_scale=log_uniform(head_key, *self.head_scales),
        )

    def init(self, instance: TransformerInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels and embeddings times their scales; biases start at zero."""
        features = self.features
        norm = {"scale": (features,), "bias": (features,)}
        shapes: Shapes = {
            "symbols": {"embedding": (len(ALPHABET), features)},
            "places": {"embedding": (self.length, features)},
        }
        for index in range(self.depths[1]):
            shapes |= {
                f"attention_norm_{index}": norm,
                # Without a bias: that of the keys would have no gradient, because softmax ignores shifts.
                f"attention_{index}": {"kernel": (features, 3 * features)},
                f"attention_output_{index}": dense_shapes(features, features),
                f"norm_{index}": norm,
                f"hidden_{index}": dense_shapes(features, 2 * features),
                f"hidden_output_{index}": dense_shapes(2 * features, features),
            }
        shapes |= {"norm": norm, "output": dense_shapes(features, len(ALPHABET))}
        layers = draw_layers(key, shapes)
        for layer in layers.values():
            if "kernel" in layer:
                layer["kernel"] *= instance.initial_scale
            if "embedding" in layer:
                layer["embedding"] *= instance.embedding_scale
        layers["output"]["kernel"] *= instance.head_scale
        return layers

    def batch(self, instance: TransformerInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw stretches of text."""
        return self.text.batch(key, split, self.batch_size, self.length)

    def loss(
        self, instance: TransformerInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross-entropy in nats per character."""
        logits = self._logits(instance, params, batch)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
        return batch.weights @ jnp.mean(losses, axis=-1)

    def accuracy(
        self, instance: TransformerInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the share of characters that are predicted correctly."""
        labels = batch.targets
        weights = jnp.broadcast_to(batch.weights[:, None] / self.length, labels.shape)
        return share_right(self._logits(instance, params, batch), labels, weights)

    @property
    def ceiling(self) -> float:
        """Twice the loss of guessing, in nats."""
        return 2 * math.log(len(ALPHABET))

    def _logits(
        self, instance: TransformerInstance, params: Layers, batch: Batch
    ) -> Float[Array, "batch length symbols"]:
        x = params["symbols"]["embedding"][batch.inputs] + params["places"]["embedding"][None]
        for index in range(self.depths[1]):
            new = x + self._attend(params, index, _layer_norm(params[f"attention_norm_{index}"], x))
            hidden = jax.nn.gelu(dense(params[f"hidden_{index}"], _layer_norm(params[f"norm_{index}"], new)))
            new = new + dense(params[f"hidden_output_{index}"], hidden)
            x = jnp.where(index < instance.depth, new, x) if index >= self.depths[0] else new
        return dense(params["output"], _layer_norm(params["norm"], x))

    def _attend(
        self, params: Layers, index: int, x: Float[Array, "batch length features"]
    ) -> Float[Array, "batch length features"]:
        rows, length, features = x.shape
        mapped = dense(params[f"attention_{index}"], x).reshape(rows, length, 3, self.heads, -1)
        query, key, value = (mapped[:, :, part] for part in range(3))
        scores = jnp.einsum("bqhf,bkhf->bhqk", query, key) / math.sqrt(features // self.heads)
        scores = jnp.where(align(jnp.tri(length, dtype=bool), scores), scores, -jnp.inf)
        attended = jnp.einsum("bhqk,bkhf->bqhf", jax.nn.softmax(scores), value)
        return dense(params[f"attention_output_{index}"], attended.reshape(rows, length, features))


def _layer_norm(layer: dict[str, Array], x: Float[Array, "*rows f"]) -> Float[Array, "*rows f"]:
    """Normalise over features (Ba, Kiros and Hinton 2016, arXiv:1607.06450)."""
    return scale_and_shift(layer, normalise(x, -1))


@register("char-transformer")
def char_transformer() -> Task:
    """One layer of attention on the sources of Python's standard library."""
    return CharTransformer(load_text())


@register("char-transformer-family")
def char_transformer_family() -> Task:
    """One or two layers of attention, with a drawn initial scale."""
    return CharTransformer(load_text(), depths=(1, 2), initial_scales=(0.8, 1.25))


@register("char-transformer-starts-family")
def char_transformer_starts_family() -> Task:
    """One layer of attention; embeddings start at sizes from 0.02 to 1, the head up to ten times smaller.

    Implementations differ that much: 0.02 in GPT-2, 1 in PyTorch's `nn.Embedding`.
    """
    # An embedding of 32 features is drawn with a standard deviation of 0.155.
    return CharTransformer(load_text(), embedding_scales=(0.13, 6.5), head_scales=(0.1, 1.0))

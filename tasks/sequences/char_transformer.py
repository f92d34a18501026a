"""A transformer as a language model of characters."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Key

from ..attention import BlocksInstance, TransformerBlocks
from ..base import Batch, Task
from ..data.prepared import Split
from ..data.text import ALPHABET, Text, load_text
from ..errors import UsageError
from ..layers import (
    Layers,
    Shapes,
    check_choices,
    check_ranges,
    dense,
    dense_shapes,
    draw_layers,
    log_uniform,
    share_right,
)
from ..registry import register


class TransformerInstance(NamedTuple):
    """One member of the family."""

    blocks: BlocksInstance
    initial_scale: Float[Array, ""]
    """Factor of the kernels at the start."""
    embedding_scale: Float[Array, ""]
    """Factor of the embeddings of symbols and positions at the start."""
    head_scale: Float[Array, ""]
    """Further factor of the output layer's kernel."""


class CharTransformer(Task):
    """Predict each next character with causal attention over embeddings of symbols and positions.

    See `TransformerBlocks` for what is between the embeddings and the output, for `norms` and for
    `branch_scales`. The embeddings of positions are learned, or fixed waves. With a tied head, the output's
    kernel is the symbols' embeddings, so `head_scales` must be left alone; `head_scales=(0, 0)` makes all
    symbols equally probable at the start. All ranges are inclusive.

    References:
        Vaswani et al. 2017, arXiv:1706.03762 (also for the waves); Press and Wolf 2017, arXiv:1608.05859
        (tied heads).

    Raises:
        UsageError: for an empty range, an unknown choice, heads that don't divide the features, or scales of
            a tied head.
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
    norms: tuple[str, ...] = struct.field(pytree_node=False, default=("pre",))
    activations: tuple[str, ...] = struct.field(pytree_node=False, default=("gelu",))
    branch_scales: tuple[float, ...] = struct.field(pytree_node=False, default=(1.0,))
    tied: bool = struct.field(pytree_node=False, default=False)
    positions: str = struct.field(pytree_node=False, default="learned")

    def __post_init__(self) -> None:
        check_ranges(initial_scales=self.initial_scales, embedding_scales=self.embedding_scales)
        if self.head_scales != (0, 0):
            check_ranges(head_scales=self.head_scales)
        if self.tied and self.head_scales != (1, 1):
            raise UsageError("a tied head has the embeddings' scale: leave head_scales at (1, 1)")
        check_choices(("learned", "waves"), positions=(self.positions,))
        self.blocks()  # it checks the rest

    def sample(self, key: Key[Array, ""]) -> TransformerInstance:
        """Draw a member: the blocks' entries uniformly, the scales log-uniformly."""
        blocks_key, scale_key = jax.random.split(key)
        embedding_key, head_key = (jax.random.fold_in(key, number) for number in (1, 2))
        return TransformerInstance(
            blocks=self.blocks().sample(blocks_key),
            initial_scale=log_uniform(scale_key, *self.initial_scales),
            embedding_scale=log_uniform(embedding_key, *self.embedding_scales),
            head_scale=log_uniform(head_key, *self.head_scales) if self.head_scales[0] else jnp.zeros(()),
        )

    def init(self, instance: TransformerInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels and embeddings times their scales; biases start at zero."""
        head = dense_shapes(self.features, len(ALPHABET))
        shapes: Shapes = {"symbols": {"embedding": (len(ALPHABET), self.features)}}
        if self.positions == "learned":
            shapes |= {"places": {"embedding": (self.length, self.features)}}
        shapes |= self.blocks().shapes() | {"output": {"bias": head["bias"]} if self.tied else head}
        layers = draw_layers(key, shapes)
        for layer in layers.values():
            if "kernel" in layer:
                layer["kernel"] *= instance.initial_scale
            if "embedding" in layer:
                layer["embedding"] *= instance.embedding_scale
        self.blocks().scale(instance.blocks, layers)
        if not self.tied:
            layers["output"]["kernel"] *= instance.head_scale
        return layers

    def batch(self, instance: TransformerInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw stretches of text."""
        return self.text.batch(key, split, self.batch_size, self.length)

    def loss(
        self, instance: TransformerInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross-entropy in nats per character."""
        logits = self.logits(instance, params, batch)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
        return batch.weights @ jnp.mean(losses, axis=-1)

    def accuracy(
        self, instance: TransformerInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the share of characters that are predicted correctly."""
        labels = batch.targets
        weights = jnp.broadcast_to(batch.weights[:, None] / self.length, labels.shape)
        return share_right(self.logits(instance, params, batch), labels, weights)

    @property
    def ceiling(self) -> float:
        """Twice the loss of guessing, in nats, times the scale of a head that starts large."""
        return 2 * math.log(len(ALPHABET)) * max(1.0, self.head_scales[1])

    def blocks(self) -> TransformerBlocks:
        """Return what is between the embeddings and the output layer."""
        choices = self.norms, self.activations, self.branch_scales
        return TransformerBlocks(self.features, self.heads, self.depths, *choices, causal=True)

    def logits(
        self, instance: TransformerInstance, params: Layers, batch: Batch
    ) -> Float[Array, "batch length symbols"]:
        """Return the logits of every next symbol."""
        symbols = params["symbols"]["embedding"]
        places = params["places"]["embedding"] if "places" in params else waves(self.length, self.features)
        x = self.blocks().apply(instance.blocks, params, symbols[batch.inputs] + places[None])
        # A head of its own has a kernel, which replaces the embeddings.
        return dense({"kernel": symbols.T, **params["output"]}, x)


def waves(length: int, features: int) -> Float[Array, "length features"]:
    """Return sines and cosines of every place, of wavelengths from 2 pi to 10,000 times that."""
    rates = 10_000.0 ** (-jnp.arange(0, features, 2, dtype=jnp.float32) / features)
    angles = jnp.arange(length, dtype=jnp.float32)[:, None] * rates[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[:, :features]


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


@register("char-transformer-tied")
def char_transformer_tied() -> Task:
    """As in GPT-2: embeddings start at 0.02 and are the head, too, and branches at half their size."""
    return CharTransformer(load_text(), embedding_scales=(0.13, 0.13), branch_scales=(0.5,), tied=True)


@register("char-transformer-post")
def char_transformer_post() -> Task:
    """As in 2017: normalisation after each sum, ReLU, and waves for positions."""
    return CharTransformer(load_text(), norms=("post",), activations=("relu",), positions="waves")


@register("char-transformer-zero")
def char_transformer_zero() -> Task:
    """The head and the last kernel of every branch start at zero."""
    return CharTransformer(load_text(), head_scales=(0.0, 0.0), branch_scales=(0.0,))


@register("char-transformer-kinds-family")
def char_transformer_kinds_family() -> Task:
    """Depth, normalisation, activation, and the scales of embeddings, branches and head are drawn."""
    return all_kinds(
        load_text(), initial_scales=(0.8, 1.25), embedding_scales=(0.13, 6.5), head_scales=(0.1, 1.0)
    )


@register("char-transformer-tied-family")
def char_transformer_tied_family() -> Task:
    """The same with a tied head, and embeddings of at most 0.12."""
    # With larger ones, the untrained model is sure that every symbol is repeated.
    return all_kinds(load_text(), initial_scales=(0.8, 1.25), embedding_scales=(0.13, 0.8), tied=True)


def all_kinds(text: Text, **options: Any) -> CharTransformer:
    """Return a family of all depths to 2, normalisations, activations and branch scales.

    Args:
        text: what it reads.
        **options: further fields of `CharTransformer`, or others for these four.
    """
    kinds = {
        "depths": (1, 2),
        "norms": ("pre", "post"),
        "activations": ("gelu", "relu", "silu"),
        "branch_scales": (0.0, 0.5, 1.0),
    }
    return CharTransformer(text, **(kinds | options))

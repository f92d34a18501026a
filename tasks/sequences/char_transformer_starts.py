"""Transformers on characters, of several sizes, some with embeddings and heads that start small or large."""

from __future__ import annotations

from typing import Any

from ..base import Task
from ..data.text import load_text
from ..registry import register
from .char_transformer import CharTransformer

_USUAL = 0.155
"""The standard deviation of embeddings and of the head's kernel that start as usual, with 32 features."""


def _start(embeddings: float = _USUAL, head: float = _USUAL, **options: Any) -> CharTransformer:
    """Build a transformer of 32 features whose embeddings and head start with these standard deviations."""
    first, last = embeddings / _USUAL, head / _USUAL
    scales: dict[str, Any] = {"embedding_scales": (first, first), "head_scales": (last, last)}
    return CharTransformer(load_text(), **scales, **options)


@register("char-transformer-small-embeddings")
def char_transformer_small_embeddings() -> Task:
    """Embeddings and head start with a standard deviation of 0.02, and are not tied."""
    return _start(0.02, 0.02)


@register("char-transformer-uneven")
def char_transformer_uneven() -> Task:
    """Embeddings start with a standard deviation of 0.2, the head with 0.1."""
    return _start(0.2, 0.1)


@register("char-transformer-large-embeddings")
def char_transformer_large_embeddings() -> Task:
    """Embeddings start with a standard deviation of 1, as in PyTorch's `nn.Embedding`."""
    return _start(1.0)


@register("char-transformer-large-head")
def char_transformer_large_head() -> Task:
    """The head starts with a standard deviation of 1: the first guesses are sure, and wrong."""
    return _start(head=1.0)


@register("char-transformer-deep-post")
def char_transformer_deep_post() -> Task:
    """Two blocks with normalisation after each sum, and embeddings of 0.02."""
    return _start(0.02, depths=(2, 2), norms=("post",))


@register("char-transformer-narrow")
def char_transformer_narrow() -> Task:
    """One block of 16 features on 16 characters: a third of the parameters of `char-transformer`."""
    return CharTransformer(load_text(), features=16, length=16)


@register("char-transformer-wide")
def char_transformer_wide() -> Task:
    """Two blocks of 64 features: nearly six times the parameters of `char-transformer`, half its batch."""
    return CharTransformer(load_text(), depths=(2, 2), features=64, heads=4, batch_size=8)


@register("large-char-transformer")
def large_char_transformer() -> Task:
    """Three blocks of 64 features, and a batch of 128: more than 100,000 parameters."""
    return CharTransformer(load_text(), depths=(3, 3), features=64, heads=4, length=16, batch_size=128)

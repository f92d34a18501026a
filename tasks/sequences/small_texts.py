"""Small language models to meta-train on: cheap, of many kinds, and on texts that no benchmark reads."""

from __future__ import annotations

import math
from typing import Any

from ..base import Task
from ..data.text import OTHER_MODULES, load_text
from ..registry import register
from .char_gru import CharGRU
from .char_transformer import CharTransformer, all_kinds


@register("small-char-transformer-family")
def small_char_transformer_family() -> Task:
    """Depth, normalisation, activation and the scales of embeddings, branches and head are drawn."""
    return _untied(24)


@register("small-char-transformer-tied-family")
def small_char_transformer_tied_family() -> Task:
    """`small-char-transformer-family` with a tied head, and embeddings of at most 0.12."""
    return _transformer(24, 0.12, tied=True)


@register("wide-char-transformer-family")
def wide_char_transformer_family() -> Task:
    """One to three blocks of 64 features: they bear smaller steps than narrow ones."""
    return _untied(64, depths=(1, 3), heads=4)


@register("wider-char-transformer-family")
def wider_char_transformer_family() -> Task:
    """One to three blocks of 128 features, up to 0.4 million parameters: to meta-train on with a GPU."""
    return _untied(128, depths=(1, 3), heads=4)


@register("small-char-gru-family")
def small_char_gru_family() -> Task:
    """GRUs of 8 to 20 units, unrolled over 12 characters."""
    scales = (0.7, 1.4)
    return CharGRU(load_text(OTHER_MODULES), (8, 20), scales, features=12, length=12, batch_size=16)


def _untied(features: int, **options: Any) -> CharTransformer:
    return _transformer(features, 1.0, head_scales=(0.1, 1.0), **options)


def _transformer(features: int, largest: float, **options: Any) -> CharTransformer:
    """Build transformers whose embeddings start with standard deviations from 0.02 to the largest."""
    usual = 0.88 / math.sqrt(features)
    sizes = {"features": features, "length": 16, "batch_size": 8}
    scales: dict[str, Any] = {
        "initial_scales": (0.7, 1.4),
        "embedding_scales": (0.02 / usual, largest / usual),
    }
    return all_kinds(load_text(OTHER_MODULES), **sizes, **scales, **options)

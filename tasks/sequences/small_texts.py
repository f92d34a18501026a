"""Small language models to meta-train on: cheap, of many kinds, and on texts that no benchmark reads."""

from __future__ import annotations

from typing import Any

from ..base import Task
from ..data.text import OTHER_MODULES, load_text
from ..registry import register
from .char_gru import CharGRU
from .char_transformer import CharTransformer, all_kinds


@register("small-char-transformer-family")
def small_char_transformer_family() -> Task:
    """Depth, normalisation, activation and the scales of embeddings, branches and head are drawn."""
    return _transformer(embedding_scales=(0.11, 5.5), head_scales=(0.1, 1.0))


@register("small-char-transformer-tied-family")
def small_char_transformer_tied_family() -> Task:
    """The same with a tied head, and embeddings of at most 0.12."""
    return _transformer(embedding_scales=(0.11, 0.7), tied=True)


@register("small-char-gru-family")
def small_char_gru_family() -> Task:
    """GRUs of 8 to 20 units, unrolled over 12 characters."""
    scales = (0.7, 1.4)
    return CharGRU(load_text(OTHER_MODULES), (8, 20), scales, features=12, length=12, batch_size=16)


def _transformer(**options: Any) -> CharTransformer:
    # An embedding of 24 features is drawn with a standard deviation of 0.18.
    sizes = {"features": 24, "length": 16, "batch_size": 8}
    return all_kinds(load_text(OTHER_MODULES), initial_scales=(0.7, 1.4), **sizes, **options)

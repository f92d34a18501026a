"""Registers models of the texts that `lopt-data prepare` brings; `lm1b` is streamed."""

from __future__ import annotations

from ..base import Task
from ..data.corpora import load_corpus
from ..registry import register
from .char_gru import CharGRU
from .char_transformer import CharTransformer


def _register(corpus: str) -> None:
    name = corpus.replace("_", "-")

    @register(f"{name}-gru")
    def gru() -> Task:
        return CharGRU(load_corpus(corpus))

    @register(f"{name}-transformer")
    def transformer() -> Task:
        return CharTransformer(load_corpus(corpus))


for _corpus in ("tiny_shakespeare", "imdb", "lm1b"):
    _register(_corpus)

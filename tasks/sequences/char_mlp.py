"""A small language model of characters: a perceptron over the embeddings of the last few."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import optax
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Batch, Task
from ..data.prepared import Split
from ..data.text import ALPHABET, OTHER_MODULES, Text, load_text
from ..layers import Layers, draw_layers, share_right
from ..perceptron import Perceptron, PerceptronInstance, perceptron_family
from ..registry import register

_CONTEXT, _FEATURES = 5, 12


class CharMLPInstance(NamedTuple):
    """One member of the family."""

    perceptron: PerceptronInstance


class CharMLP(Task):
    """Predict a character from the preceding ones, by a perceptron over their embeddings.

    References:
        Bengio, Ducharme, Vincent and Jauvin 2003, A neural probabilistic language model (JMLR 3).
    """

    text: Text
    perceptron: Perceptron = struct.field(
        pytree_node=False, default=Perceptron(_CONTEXT * _FEATURES, len(ALPHABET), widths=(48, 48))
    )
    batch_size: int = struct.field(pytree_node=False, default=64)

    def sample(self, key: Key[Array, ""]) -> CharMLPInstance:
        """Draw a perceptron."""
        return CharMLPInstance(self.perceptron.sample(key))

    def init(self, instance: CharMLPInstance, key: Key[Array, ""]) -> Layers:
        """Draw embeddings and the perceptron."""
        embedding_key, layers_key = jax.random.split(key)
        symbols = draw_layers(embedding_key, {"symbols": {"embedding": (len(ALPHABET), _FEATURES)}})
        return symbols | self.perceptron.init(instance.perceptron, layers_key)

    def batch(self, instance: CharMLPInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw stretches of text; the last symbol of each is to be predicted."""
        return self.text.batch(key, split, self.batch_size, _CONTEXT)

    def loss(
        self, instance: CharMLPInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross-entropy in nats per character."""
        logits = self._logits(instance, params, batch)
        return batch.weights @ optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets[:, -1])

    def accuracy(
        self, instance: CharMLPInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the share of characters that are predicted correctly."""
        return share_right(self._logits(instance, params, batch), batch.targets[:, -1], batch.weights)

    @property
    def ceiling(self) -> float:
        """Twice the loss of guessing, in nats."""
        return 2 * math.log(len(ALPHABET))

    def _logits(
        self, instance: CharMLPInstance, params: Layers, batch: Batch
    ) -> Float[Array, "batch symbols"]:
        embedded = params["symbols"]["embedding"][batch.inputs]
        rows = embedded.reshape(embedded.shape[0], -1)
        layers = {name: layer for name, layer in params.items() if name != "symbols"}
        return self.perceptron.apply(instance.perceptron, layers, rows)


@register("char-mlp-family")
def char_mlp_family() -> Task:
    """Perceptrons of one or two layers, on other sources of Python's library than the other models."""
    perceptron = perceptron_family(_CONTEXT * _FEATURES, len(ALPHABET), widths=(24, 48))
    return CharMLP(load_text(OTHER_MODULES), perceptron)

"""Classification tasks, which differ only in how the logits are computed."""

from __future__ import annotations

import abc
import math

import optax
from jaxtyping import Array, Float, Key

from .base import Batch, Instance, Params, Task
from .layers import share_right


class Classifier(Task):
    """A task whose loss is the cross-entropy of the labels, in nats.

    Subclasses implement `sample`, `init`, `batch` (with labels as targets), and `logits` instead of `loss`.
    """

    @property
    @abc.abstractmethod
    def num_classes(self) -> int:
        """The number of labels."""

    @abc.abstractmethod
    def logits(self, instance: Instance, params: Params, batch: Batch) -> Float[Array, "rows classes"]:
        """Return the logit of every class for every row of a batch."""

    def loss(self, instance: Instance, params: Params, batch: Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        """Return the cross-entropy in nats."""
        logits = self.logits(instance, params, batch)
        return batch.weights @ optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)

    def accuracy(
        self, instance: Instance, params: Params, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the share of rows that are classified correctly."""
        return share_right(self.logits(instance, params, batch), batch.targets, batch.weights)

    @property
    def ceiling(self) -> float:
        """Four times the loss of guessing, which is above every initial loss of the registered families."""
        return 4 * math.log(self.num_classes)

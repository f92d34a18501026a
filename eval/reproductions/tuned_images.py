"""What the experiments that tune hyperparameters of networks have in common: images, and their networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optax
from jaxtyping import Array, Float, Key

import tasks


def find_images(*preferred: str) -> tasks.Dataset:
    """Return the first data set that is prepared on this machine, and else the digits of scikit-learn."""
    for name in preferred:
        try:
            return tasks.load_dataset(name)
        except tasks.DatasetNotPreparedError:
            continue
    return tasks.load_dataset("digits")


class SlimmableMLP(tasks.TunableMLP):
    """An MLP whose widths may be tuned and nothing else, so that a step draws no noise and no dropout."""

    @property
    def hyperparameters(self) -> Mapping[str, tasks.Hyperparameter]:
        """The width of each layer."""
        return {name: one for name, one in super().hyperparameters.items() if name.startswith("width_")}

    def loss(self, instance: Any, params: Any, batch: Any, key: Key[Array, ""]) -> Float[Array, ""]:
        """Return the cross-entropy in nats."""
        logits = self.logits(instance, params, batch)
        return batch.weights @ optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)

"""Wrong labels."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import AnyBatch, Instance
from ..data.prepared import Split
from ..errors import UsageError
from .wrapper import Wrapped, Wrapper


class NoisyTargets(Wrapper):
    """Give some rows of each training batch the target of another row: label noise.

    The share is uniform between `low` and `high` over members, and an instance's `own`. A row's new target is
    that of a row drawn at random, which may be the same one. Batches of other splits are the task's.

    Raises:
        UsageError: for a range that is empty or not within 0 and 1; by `batch`, if batches are no
            `tasks.Batch`.
    """

    low: float = struct.field(pytree_node=False, default=0.0)
    high: float = struct.field(pytree_node=False, default=0.3)

    SALT: ClassVar[int] = 0x7A26E7

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise UsageError(f"shares=({self.low}, {self.high}) is not a range between 0 and 1")

    def draw(self, member: Instance, key: Key[Array, ""]) -> Float[Array, ""]:
        """Draw the share of wrong targets."""
        return jax.random.uniform(key, minval=self.low, maxval=self.high)

    def batch(self, instance: Wrapped, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw a batch of the wrapped task, and exchange targets."""
        batch = self.task.batch(instance.task, key, split)
        if not hasattr(batch, "targets"):
            raise UsageError(f"batches of {type(self.task).__name__} have no `targets` that could be noisy")
        if split != "train":
            return batch
        wrong_key, other_key = jax.random.split(self.own_key(key))
        targets = batch.targets
        rows = targets.shape[0]
        wrong = jax.random.bernoulli(wrong_key, instance.own, (rows,))
        others = targets.at[jax.random.randint(other_key, (rows,), 0, rows)].get(mode="promise_in_bounds")
        wrong = jax.lax.expand_dims(wrong, range(1, targets.ndim))
        return batch._replace(targets=jnp.where(wrong, others, targets))

"""A limited number of training examples."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int, Key, UInt32

from ..base import AnyBatch, Instance
from ..data.prepared import Split
from ..layers import check_ranges, log_uniform
from .wrapper import Wrapped, Wrapper


class Batches(NamedTuple):
    """The training data of a member."""

    seed: UInt32[Array, ""]
    """Decides which batches they are."""
    count: Int[Array, ""]
    """How many there are."""


class FiniteData(Wrapper):
    """Train on a few batches of a task, again and again: a subset of its data that can be overfitted.

    Each member has batches of its own, as many as a log-uniform number between `low` and `high`, rounded; an
    instance's `own` says which. They take no memory, because they are drawn anew from the same keys. Around a
    wrapper that changes batches, it makes that change permanent: `FiniteData(NoisyTargets(task))` always has
    the same wrong labels. Batches of other splits are the task's.

    Raises:
        UsageError: for an empty range.
    """

    low: int = struct.field(pytree_node=False, default=8)
    high: int = struct.field(pytree_node=False, default=256)

    SALT: ClassVar[int] = 0xF1417E

    def __post_init__(self) -> None:
        check_ranges(batches=(self.low, self.high))

    def draw(self, member: Instance, key: Key[Array, ""]) -> Batches:
        """Draw which batches a member has."""
        number_key, seed_key = jax.random.split(key)
        count = jnp.clip(jnp.round(log_uniform(number_key, self.low, self.high)), self.low, self.high)
        return Batches(jax.random.bits(seed_key, (), jnp.uint32), count.astype(jnp.int32))

    def batch(self, instance: Wrapped, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw one of the member's batches."""
        if split == "train":
            which = jax.random.randint(key, (), 0, instance.own.count)
            data_key = jax.random.fold_in(jax.random.key(self.SALT), instance.own.seed)
            key = jax.random.fold_in(data_key, which)
        return self.task.batch(instance.task, key, split)

"""A loss in another unit."""

from __future__ import annotations

from typing import ClassVar

from flax import struct
from jaxtyping import Array, Float, Key

from ..base import AnyBatch, Instance, Params
from ..layers import check_ranges, log_uniform
from .wrapper import Wrapped, Wrapper


class ScaledLoss(Wrapper):
    """Multiply the loss of a task by a factor that is log-uniform between `low` and `high`.

    Gradients are `factor` times as large, parameters are the same. An instance's `own` is its factor.

    The ceiling is that of the wrapped task times `high`, for all members: one with a smaller factor may climb
    further by `high / factor` until it counts as diverged, and none counts as diverged too early.

    Raises:
        UsageError: for an empty range.
    """

    low: float = struct.field(pytree_node=False, default=0.1)
    high: float = struct.field(pytree_node=False, default=10.0)

    SALT: ClassVar[int] = 0x105CA

    def __post_init__(self) -> None:
        check_ranges(factors=(self.low, self.high))

    def draw(self, member: Instance, key: Key[Array, ""]) -> Float[Array, ""]:
        """Draw a factor."""
        return log_uniform(key, self.low, self.high)

    def loss(
        self, instance: Wrapped, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the wrapped task's loss times the member's factor."""
        loss = self.task.loss(instance.task, params, batch, key)
        return loss * instance.own.astype(loss.dtype)

    @property
    def ceiling(self) -> float:
        """That of the wrapped task times the largest factor."""
        return self.high * self.task.ceiling

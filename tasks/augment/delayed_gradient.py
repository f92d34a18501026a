"""Gradients that arrive late."""

from __future__ import annotations

from flax import struct

from ..errors import UsageError
from .wrapper import Wrapper


class DelayedGradient(Wrapper):
    """Let each gradient arrive some inner steps late, as in asynchronous training.

    The loss at some parameters can't know those of earlier steps, and a task has no state. So this wrapper
    only says how late (`gradient_delay`), and inner training keeps the gradients that are on their way: a
    rule gets the gradient of the parameters of `steps` steps ago, and the present loss. Until the first one
    arrives, it gets zeros. Nested delays add up.

    Whoever calls `Task.loss` without `meta_train.InnerTraining` gets the present gradient.

    Raises:
        UsageError: for a negative number of steps.
    """

    steps: int = struct.field(pytree_node=False, default=2)

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"a gradient arrives 0 steps late or more, not {self.steps}")

    @property
    def gradient_delay(self) -> int:
        """That of the wrapped task, and `steps` more."""
        return self.task.gradient_delay + self.steps

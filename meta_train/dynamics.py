"""An unrolled computation graph: all that a gradient estimator may know."""

from __future__ import annotations

import abc
import inspect
import math
from typing import Any

from flax import struct
from jaxtyping import Array, Float, Int, Key, PyTree

Theta = PyTree[Array]
State = Any


class Dynamics(struct.PyTreeNode, abc.ABC):
    """A system s' = f(s, x; theta) with a loss at each step.

    Inner training is one (`InnerTraining`); so are a recurrent network over a sequence, a control policy, a
    linear system with a known gradient. Estimators see nothing else, so each of them runs on all of these.
    Array leaves are constants on the device (data); everything else is static.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the class a static field: jax 0.10 calls structures equal when all but the class is.

        It tells them apart by a few bits of their hashes; one time in a hundred, a jitted function that is
        given two systems would run the first one's program on both.
        """
        cls.__annotations__ = inspect.get_annotations(cls) | {"_class": type}
        cls._class = struct.field(pytree_node=False, default=cls, kw_only=True, repr=False)
        super().__init_subclass__(**kwargs)

    @abc.abstractmethod
    def init(self, theta: Theta, horizon: Int[Array, ""], key: Key[Array, ""]) -> State:
        """Return the state at the start of an episode.

        Args:
            theta: the meta-parameters, a tree of float arrays.
            horizon: length of the episode in steps; traced, since particles differ in it.
            key: the episode's randomness.
        """

    @abc.abstractmethod
    def step(self, theta: Theta, state: State, key: Key[Array, ""]) -> tuple[State, Float[Array, ""]]:
        """Advance by one step; return the next state and the step's loss, a scalar."""

    @property
    def ceiling(self) -> float:
        """The loss from which on a step counts as diverged; losses are clipped to it."""
        return math.inf

"""An unrolled computation graph: the only thing that gradient estimators work on."""

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

    Examples are inner training (`InnerTraining`), a recurrent network over a sequence, a control policy, and
    a linear system with a known gradient. Estimators use only this interface, so each runs on all of these.
    Array leaves are constants on the device (data); every other field is static.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the class a static field: jax 0.10 treats structures as equal if they differ only in class.

        It distinguishes them by a few bits of their hashes. One time in a hundred, a jitted function that is
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
            horizon: length of the episode in steps; traced, because it differs between particles.
            key: the episode's PRNG key.
        """

    @abc.abstractmethod
    def step(self, theta: Theta, state: State, key: Key[Array, ""]) -> tuple[State, Float[Array, ""]]:
        """Advance by one step; return the next state and the step's loss, a scalar."""

    @property
    def ceiling(self) -> float:
        """A step with a loss at or above this counts as diverged, and its loss is clipped to it."""
        return math.inf

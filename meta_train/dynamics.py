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


class Recurrent(Dynamics):
    """Dynamics whose state depends on theta through one product of a matrix with features of the state.

    So s' = r(s, M(theta) h(s, x)): a recurrent network whose state's weights and biases are together the
    matrix M, and whose features h are the state, the inputs and ones. Theta may have other parts, which only
    the loss depends on, and the initial state must not depend on theta. Estimators that approximate the
    influence by Kronecker products need this (`kf-rtrl`, `ok`).

    Several sequences may go side by side: they are the first axis of features and product, and of each float
    leaf of the state, and a sequence's state depends on its own features only.
    """

    @abc.abstractmethod
    def matrix(self, theta: Theta) -> Float[Array, "outputs inputs"]:
        """Return the matrix, a linear function of theta."""

    @abc.abstractmethod
    def features(self, state: State, key: Key[Array, ""]) -> Float[Array, "sequences inputs"]:
        """Return what the matrix is multiplied with in a step; the key is that of the step."""

    @abc.abstractmethod
    def recur(self, state: State, product: Float[Array, "sequences outputs"], key: Key[Array, ""]) -> State:
        """Return the next state."""

    @abc.abstractmethod
    def readout(self, theta: Theta, before: State, after: State, key: Key[Array, ""]) -> Float[Array, ""]:
        """Return the loss of a step from the state before it to the one after it."""

    def step(self, theta: Theta, state: State, key: Key[Array, ""]) -> tuple[State, Float[Array, ""]]:
        """Advance by one step."""
        after = self.recur(state, self.features(state, key) @ self.matrix(theta).T, key)
        return after, self.readout(theta, state, after, key)


class Minimising(Dynamics):
    """Dynamics that minimise a loss, which theta shapes, over a part of the state.

    Estimators that differentiate the minimum itself, instead of the way to it, need this (`implicit`).
    """

    @abc.abstractmethod
    def parameters(self, state: State) -> PyTree[Array]:
        """Return the part of the state over which the loss is minimised, a tree of float arrays."""

    @abc.abstractmethod
    def inner_loss(
        self, theta: Theta, state: State, parameters: PyTree[Array], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the loss that is minimised, on a batch that the key draws, at given parameters."""

    @abc.abstractmethod
    def outer_loss(
        self, theta: Theta, state: State, parameters: PyTree[Array], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the loss of a step that ends at given parameters, on a batch that the key draws."""

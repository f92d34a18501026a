"""The core of the estimators that carry the influence of theta as a sum of Kronecker products.

In `Recurrent` dynamics a step adds D x h to the influence of the matrix on the state of a sequence: D is the
derivative of the next state with respect to the product of matrix and features, and h are the features. So
the influence is a sum of such products, whose first factors the recurrence multiplies by H, the derivative of
the next state with respect to the state. Each step makes one product more, and the members replace this sum
by one of as many products as before, at random, with the same mean.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Recurrent, Theta
from ..unroll import Episode
from .forward import Tangents, float_leaves
from .online import Moved, Online, Signs
from .sparsity import leaf_pattern
from .step_derivatives import Step, take_step


class Products(NamedTuple):
    """A sum of Kronecker products for each sequence: the influence is E[sum_r tall_r x wide_r]."""

    tall: Float[Array, "sequences terms state outputs"]
    """Derivatives of the state by the matrix's rows; change every step."""
    wide: Float[Array, "sequences terms inputs"]
    """Factors shaped like the features; change every step."""


class Pushed(Dynamics):
    """`Recurrent` dynamics whose product of matrix and features is shifted; theta is (theta, shift)."""

    graph: Recurrent

    def init(self, theta: tuple[Theta, Array], horizon: Int[Array, ""], key: Key[Array, ""]) -> Any:
        """Start the graph."""
        return self.graph.init(theta[0], horizon, key)

    def step(
        self, theta: tuple[Theta, Array], state: Any, key: Key[Array, ""]
    ) -> tuple[Any, Float[Array, ""]]:
        """Advance the graph."""
        theta, shift = theta
        product = self.graph.features(state, key) @ self.graph.matrix(theta).T + shift
        after = self.graph.recur(state, product, key)
        return after, self.graph.readout(theta, state, after, key)

    @property
    def ceiling(self) -> float:
        """The ceiling of the graph."""
        return self.graph.ceiling


@dataclasses.dataclass(frozen=True)
class KroneckerSum(Online):
    """Carry an unbiased estimate of the influence as a sum of a few Kronecker products."""

    @property
    @abc.abstractmethod
    def products(self) -> int:
        """The number of products."""

    @abc.abstractmethod
    def shorten(self, grown: Products, signs: Float[Array, "sequences products+1"]) -> Products:
        """Return a sum with one product less, whose mean over the signs is the given one."""

    def blank_influence(self, dynamics: Dynamics, theta: Theta, episode: Episode) -> Products:
        """Return zeros.

        Raises:
            UsageError: for dynamics that are not `Recurrent`, or whose initial state depends on theta.
        """
        name = type(dynamics).__name__
        if not isinstance(dynamics, Recurrent):
            raise UsageError(
                f"{type(self).__name__} needs a state that depends on theta through one matrix, as the copy "
                f"task's (meta_train.Recurrent), and {name} has none: take snap, uoro or dodge"
            )
        sequences = _sizes(dynamics, theta, episode)[0]
        if any(x.shape[:1] != (sequences,) for x in float_leaves(episode.state)):
            raise UsageError(f"{name}: the first axis of each float array of its state must be the sequences")
        if leaf_pattern(_initial_floats, theta, dynamics, jax.random.key(0)).any():
            raise UsageError(
                f"{type(self).__name__} needs an initial state that does not depend on theta, as that of "
                f"{name} does: take snap, uoro or dodge"
            )
        return self._zeros(dynamics, theta, episode)

    def signs_per_step(self, dynamics: Dynamics, theta: Theta, episode: Episode) -> int:
        """Return one more than the products, for each sequence."""
        return _sizes(dynamics, theta, episode)[0] * (self.products + 1)

    def begin(
        self,
        dynamics: Dynamics,
        theta: Theta,
        episode: Episode,
        start: Callable[[Theta], Tangents],
        signs: Signs,
    ) -> Products:
        """Return zeros: theta does not act on the initial state."""
        return self._zeros(dynamics, theta, episode)

    def move(
        self,
        dynamics: Dynamics,
        theta: Theta,
        influence: Products,
        episode: Episode,
        key: Key[Array, ""],
        signs: Signs,
    ) -> Moved:
        """Do a step, add its own product to the sum, and shorten the sum."""
        graph = cast(Recurrent, dynamics)  # `init` has checked it
        sequences, _, _, outputs = influence.tall.shape
        # The key that `advance` gives to a window's only step.
        features = graph.features(episode.state, jax.random.split(key, 1)[0])
        shift = jnp.zeros((sequences, outputs), features.dtype)
        taken = take_step(Pushed(graph), self.objective, (theta, shift), episode, key)

        slope = _by_sequence(taken.slope, sequences, features.dtype)
        rows = jnp.einsum("bs,brso->bro", slope, influence.tall)
        explained = jnp.einsum("bro,bri->oi", rows, influence.wide)
        through = jax.vjp(graph.matrix, theta)[1](explained)[0]

        by_state, by_output = self._jacobians(taken, theta, episode, sequences, outputs)
        carried = jnp.einsum("bts,brso->brto", by_state, influence.tall)
        grown = Products(
            tall=jnp.concatenate([carried, by_output[:, None]], axis=1),
            wide=jnp.concatenate([influence.wide, features[:, None]], axis=1),
        )
        shorter = self.shorten(grown, signs.reshape(sequences, -1).astype(features.dtype))
        return Moved(shorter, through, taken._replace(direct=taken.direct[0]))

    def _jacobians(
        self, taken: Step, theta: Theta, episode: Episode, sequences: int, outputs: int
    ) -> tuple[Float[Array, "sequences states states"], Float[Array, "sequences states outputs"]]:
        """Return the derivatives of each sequence's next state by its state, and by its product."""
        floats = float_leaves(episode.state)
        dtype = floats[0].dtype
        still = jax.tree.map(jnp.zeros_like, theta)
        # The sequences do not act on one another, so all are pushed at once.
        states = sum(x.size for x in floats) // sequences
        along_state = lambda e: taken.push(_as_floats(e, floats))  # noqa: E731
        along_product = lambda e: taken.push_theta((still, jnp.repeat(e[None], sequences, axis=0)))  # noqa: E731
        jacobians = []
        for push, size in ((along_state, states), (along_product, outputs)):
            moved = jax.vmap(lambda e, push=push: _by_sequence(push(e), sequences, dtype))
            jacobians.append(jnp.moveaxis(moved(jnp.eye(size, dtype=dtype)), 0, -1))
        return jacobians[0], jacobians[1]

    def _zeros(self, dynamics: Dynamics, theta: Theta, episode: Episode) -> Products:
        sequences, states, outputs, inputs = _sizes(dynamics, theta, episode)
        dtype = jax.eval_shape(cast(Recurrent, dynamics).matrix, theta).dtype
        shapes = (sequences, self.products, states, outputs), (sequences, self.products, inputs)
        return Products(*(jnp.zeros(shape, dtype) for shape in shapes))


def _initial_floats(theta: Theta, dynamics: Dynamics, key: Key[Array, ""]) -> Tangents:
    return float_leaves(dynamics.init(theta, jnp.ones((), jnp.int32), key))


def _sizes(dynamics: Any, theta: Theta, episode: Episode) -> tuple[int, int, int, int]:
    """Return the numbers of sequences, of state per sequence, of outputs and of inputs of the matrix."""
    features = jax.eval_shape(dynamics.features, episode.state, jax.random.key(0))
    outputs, inputs = jax.eval_shape(dynamics.matrix, theta).shape
    states = sum(x.size for x in float_leaves(episode.state)) // features.shape[0]
    return features.shape[0], states, outputs, inputs


def _by_sequence(floats: Tangents, sequences: int, dtype: Any) -> Float[Array, "sequences states"]:
    return jnp.concatenate([x.reshape(sequences, -1).astype(dtype) for x in floats], axis=1)


def _as_floats(state: Float[Array, " states"], floats: Tangents) -> Tangents:
    """Return the same tangent of the state of every sequence."""
    sizes = [x[0].size for x in floats]
    pieces = jnp.split(state, np.cumsum(sizes)[:-1])
    return tuple(
        jnp.broadcast_to(p.reshape(x.shape[1:])[None], x.shape).astype(x.dtype)
        for p, x in zip(pieces, floats, strict=True)
    )

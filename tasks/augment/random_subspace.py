"""Training in a random subspace."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key, PyTree

from ..base import Instance, Params
from ..errors import UsageError
from ..hyperparameters import Hyperparameter
from .wrapper import Wrapped, Wrapper


class Subspace(NamedTuple):
    """Where a member's weights start, and how they move."""

    start: Params
    """The weights at the origin."""
    code: PyTree[Int[Array, "..."]]
    """Twice the coordinate that moves a weight, plus 1 if in the opposite direction; int32, like `start`."""


class RandomSubspace(Wrapper):
    """Train `size` numbers x, and let the weights be w0 + P x: a random subspace through the initial weights.

    Each weight follows one coordinate, drawn at random, by +s or -s, where s = sqrt(size / weights), so that
    the columns of P are orthogonal and about 1 long. A dense P would take `size` times the memory of the
    weights; this one takes as much as they do. The w0 and P are the member's (its `own`), x starts at zero.

    The wrapped task's hyperparameters can't be tuned, because w0, which may depend on them, is drawn before.

    References: Li et al. 2018, arXiv:1804.08838 (intrinsic dimension).

    Raises:
        UsageError: for a size that is not positive.
    """

    size: int = struct.field(pytree_node=False, default=64)

    SALT: ClassVar[int] = 0x5B5AC

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"a subspace has 1 dimension or more, not {self.size}")

    def draw(self, member: Instance, key: Key[Array, ""]) -> Subspace:
        """Draw the weights at the origin, and which coordinate moves each."""
        start_key, code_key = jax.random.split(key)
        start = self.task.init(member, start_key)
        leaves, tree = jax.tree.flatten(start)
        flat = jax.random.randint(code_key, (_count(start),), 0, 2 * self.size, jnp.int32)
        pieces = jnp.split(flat, np.cumsum([leaf.size for leaf in leaves])[:-1])
        codes = [piece.reshape(leaf.shape) for piece, leaf in zip(pieces, leaves, strict=True)]
        return Subspace(start, jax.tree.unflatten(tree, codes))

    def init(self, instance: Wrapped, key: Key[Array, ""]) -> dict[str, Float[Array, " size"]]:
        """Return the origin."""
        del instance, key
        return {"x": jnp.zeros(self.size, jnp.float32)}

    def weights(self, instance: Wrapped, params: Params) -> Params:
        """Return w0 + P x."""
        start, code = instance.own
        moves = params["x"] * math.sqrt(self.size / _count(start))

        def moved(weight: Array, code: Array) -> Array:
            move = moves.at[code // 2].get(mode="promise_in_bounds")
            return weight + jnp.where(code % 2 == 1, -move, move).astype(weight.dtype)

        return jax.tree.map(moved, start, code)

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """None."""
        return {}


def _count(params: Params) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))

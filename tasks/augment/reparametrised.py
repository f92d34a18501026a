"""Another parametrisation: parameters of other sizes."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Key, PyTree

from ..base import Instance, Params
from ..errors import UsageError
from ..layers import check_ranges, log_uniform
from .wrapper import Wrapped, Wrapper


class Reparametrised(Wrapper):
    """Divide parameters by a random factor, and multiply by it in the loss.

    The problem is the same, but gradients are `factor` times as large and parameters that much smaller: a
    rule has to find the scale of its steps. Factors are log-uniform between `low` and `high`: one for all
    parameters (`level="global"`), one for each tensor (`"tensor"`), or one for each number in each tensor
    (`"parameter"`; they take as much memory as the parameters). An instance's `own` is the tree of factors.

    References:
        Metz et al. 2022, arXiv:2211.09760 (VeLO's task augmentation).
        Moudgil et al. 2025, arXiv:2501.12670 (Celo).

    Raises:
        UsageError: for an empty range, or an unknown level.
    """

    low: float = struct.field(pytree_node=False, default=0.1)
    high: float = struct.field(pytree_node=False, default=10.0)
    level: Literal["global", "tensor", "parameter"] = struct.field(pytree_node=False, default="global")

    SALT: ClassVar[int] = 0x5CA1E

    def __post_init__(self) -> None:
        check_ranges(factors=(self.low, self.high))
        if self.level not in ("global", "tensor", "parameter"):
            raise UsageError(f"there is no level {self.level!r}: give 'global', 'tensor' or 'parameter'")

    def draw(self, member: Instance, key: Key[Array, ""]) -> PyTree[Array]:
        """Draw factors: a scalar for each tensor, or an array of its shape."""
        shapes, tree = jax.tree.flatten(jax.eval_shape(self.task.init, member, key))
        if self.level == "global":
            factors = [log_uniform(key, self.low, self.high)] * len(shapes)
        elif self.level == "tensor":
            keys = jax.random.split(key, len(shapes))
            factors = list(jax.vmap(lambda key: log_uniform(key, self.low, self.high))(keys))
        else:
            sizes = [math.prod(leaf.shape) for leaf in shapes]
            ends = math.log(self.low), math.log(self.high)
            # One draw for all tensors: each separate draw takes long to compile.
            flat = jnp.exp(jax.random.uniform(key, (sum(sizes),), minval=ends[0], maxval=ends[1]))
            pieces = jnp.split(flat, np.cumsum(sizes)[:-1])
            factors = [piece.reshape(leaf.shape) for piece, leaf in zip(pieces, shapes, strict=True)]
        return jax.tree.unflatten(tree, factors)

    def init(self, instance: Wrapped, key: Key[Array, ""]) -> Params:
        """Draw the wrapped task's parameters, divided by their factors."""
        params = self.task.init(instance.task, key)
        return jax.tree.map(lambda p, factor: (p / factor).astype(p.dtype), params, instance.own)

    def weights(self, instance: Wrapped, params: Params) -> Params:
        """Return the parameters times their factors."""
        return jax.tree.map(lambda p, factor: (p * factor).astype(p.dtype), params, instance.own)

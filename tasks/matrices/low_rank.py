"""Products of matrices that learn a matrix: factorisation, and deep linear networks."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Batch, Task
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import Layers, Shapes, check_ranges, draw_layers, equal_weights, log_uniform
from ..registry import register


class LowRankInstance(NamedTuple):
    """One matrix, and where its factors start."""

    left: Float[Array, "inputs values"]
    """Orthonormal columns; the matrix is left * diag(values) * right^T."""
    values: Float[Array, " values"]
    """Singular values, largest first; their squares sum to the number of outputs."""
    right: Float[Array, "outputs values"]
    initial_scale: Float[Array, ""]


class LowRank(Task):
    """Learn a linear map as a product of matrices through a bottleneck; squared error, no biases.

    Inputs are standard normal, so that the expected loss is |W_1 ... W_depth - M|^2 / outputs + noise^2. It
    is at least the sum of the squares of M's singular values beyond the first `rank`, over outputs, plus
    noise^2 (Eckart and Young 1936). The k-th singular value is proportional to k^-decay, with a `decay` that
    is uniform over `decays`. Factors that start small start near a saddle. Every key gives new data, and each
    split has its own stream of keys.

    References:
        Baldi and Hornik 1989, Neural networks and principal component analysis (Neural Networks 2).
        Saxe, McClelland and Ganguli 2014, arXiv:1312.6120 (deep linear networks).

    Raises:
        UsageError: for an empty range, a rank that is no bottleneck, or less than two factors.
    """

    inputs: int = struct.field(pytree_node=False, default=16)
    outputs: int = struct.field(pytree_node=False, default=16)
    rank: int = struct.field(pytree_node=False, default=4)
    depth: int = struct.field(pytree_node=False, default=2)
    decays: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    noise: float = struct.field(pytree_node=False, default=0.0)
    batch_size: int = struct.field(pytree_node=False, default=32)

    def __post_init__(self) -> None:
        check_ranges(initial_scales=self.initial_scales)
        if not 0 <= self.decays[0] <= self.decays[1]:
            raise UsageError(f"decays={self.decays} is not a range: give two numbers from 0 on, low first")
        if not 1 <= self.rank <= min(self.inputs, self.outputs):
            raise UsageError(f"rank={self.rank}: give 1 to {min(self.inputs, self.outputs)}")
        if self.depth < 2:
            raise UsageError(f"depth={self.depth}: a product has at least two factors")

    def sample(self, key: Key[Array, ""]) -> LowRankInstance:
        """Draw a matrix by its singular vectors and values."""
        keys = jax.random.split(key, 4)
        count = min(self.inputs, self.outputs)
        decay = jax.random.uniform(keys[2], minval=self.decays[0], maxval=self.decays[1])
        values = (1 + jnp.arange(count, dtype=jnp.float32)) ** -decay
        return LowRankInstance(
            left=jax.random.orthogonal(keys[0], self.inputs)[:, :count],
            values=values * jnp.sqrt(self.outputs / jnp.sum(jnp.square(values))),
            right=jax.random.orthogonal(keys[1], self.outputs)[:, :count],
            initial_scale=log_uniform(keys[3], *self.initial_scales),
        )

    def init(self, instance: LowRankInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal factors of scale initial_scale / sqrt(fan in)."""
        sizes = [self.inputs, *[self.rank] * (self.depth - 1), self.outputs]
        shapes: Shapes = {
            f"factor_{index}": {"kernel": pair} for index, pair in enumerate(itertools.pairwise(sizes))
        }
        layers = draw_layers(key, shapes)
        return {name: {"kernel": one["kernel"] * instance.initial_scale} for name, one in layers.items()}

    def batch(self, instance: LowRankInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw inputs, and compute noisy outputs of the matrix."""
        key = jax.random.fold_in(key, SPLITS.index(split))
        draws = jax.random.normal(key, (self.batch_size, self.inputs + self.outputs))
        inputs, noise = draws[:, : self.inputs], draws[:, self.inputs :]
        outputs = (inputs @ instance.left * instance.values[None]) @ instance.right.T
        return Batch(inputs, outputs + self.noise * noise, equal_weights(self.batch_size))

    def loss(
        self, instance: LowRankInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean squared error per output."""
        x = batch.inputs
        for index in range(self.depth):
            x = x @ params[f"factor_{index}"]["kernel"]
        return batch.weights @ jnp.mean(jnp.square(x - batch.targets), axis=-1)

    @property
    def ceiling(self) -> float:
        """Twenty times the loss of predicting zero, or of a large start."""
        return 20.0 * max(1.0, self.initial_scales[1] ** (2 * self.depth)) + self.noise**2


register("matrix-factorisation")(LowRank)


@register("deep-linear")
def deep_linear() -> Task:
    """Four square matrices, without a bottleneck."""
    return LowRank(rank=16, depth=4)


@register("low-rank-family")
def low_rank_family() -> Task:
    """Three factors of small or usual size, a matrix of any spectrum from flat to steep, a little noise."""
    return LowRank(depth=3, decays=(0.0, 2.0), initial_scales=(0.1, 1.0), noise=0.1)

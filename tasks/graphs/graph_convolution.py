"""Node classification on random graphs with communities."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..classifier import Classifier
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import (
    Layers,
    check_ranges,
    dense,
    dense_shapes,
    draw_layers,
    draw_whole,
    equal_weights,
    log_uniform,
)
from ..perceptron import live_units
from ..registry import register

_PERIOD, _TRAIN = 8, 5
"""Node i belongs to a split by i % 8: 0 to 4 is train, and each other split has one number."""


class GraphInstance(NamedTuple):
    """One graph, and the network that reads it."""

    propagation: Float[Array, "nodes nodes"]
    """The normalised adjacency matrix."""
    features: Float[Array, "nodes features"]
    labels: Int[Array, " nodes"]
    units: Int[Array, ""]
    initial_scale: Float[Array, ""]


class GraphConvolution(Classifier):
    """Tell the community of each node from noisy features and the edges, with two graph convolutions.

    Every node has a random community. An edge exists with probability `within` inside of a community and
    `between` otherwise (a stochastic block model). A node's features are those of its community plus normal
    noise, whose standard deviation is log-uniform over `noises`. The whole graph is seen; the labels of five
    eighths of the nodes are train, and one eighth each are the other splits.

    References:
        Kipf and Welling 2017, arXiv:1609.02907.

    Raises:
        UsageError: for an empty range, a number that is no probability, or too few nodes.
    """

    nodes: int = struct.field(pytree_node=False, default=64)
    classes: int = struct.field(pytree_node=False, default=4)
    features: int = struct.field(pytree_node=False, default=12)
    within: tuple[float, float] = struct.field(pytree_node=False, default=(0.25, 0.25))
    between: tuple[float, float] = struct.field(pytree_node=False, default=(0.03, 0.03))
    noises: tuple[float, float] = struct.field(pytree_node=False, default=(2.0, 2.0))
    units: tuple[int, int] = struct.field(pytree_node=False, default=(16, 16))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    batch_size: int = struct.field(pytree_node=False, default=32)

    def __post_init__(self) -> None:
        check_ranges(within=self.within, between=self.between, noises=self.noises, units=self.units)
        check_ranges(initial_scales=self.initial_scales)
        if max(self.within[1], self.between[1]) > 1:
            raise UsageError("within and between are probabilities of an edge: give at most 1")
        if self.nodes < _PERIOD:
            raise UsageError(f"nodes={self.nodes} are too few for four splits: give at least {_PERIOD}")

    def sample(self, key: Key[Array, ""]) -> GraphInstance:
        """Draw a graph and its features."""
        keys = jax.random.split(key, 9)
        labels = jax.random.randint(keys[0], (self.nodes,), 0, self.classes)
        within, between = log_uniform(keys[1], *self.within), log_uniform(keys[2], *self.between)
        chances = jnp.where(labels[:, None] == labels[None], within, between)
        upper = jnp.triu(jax.random.uniform(keys[3], (self.nodes, self.nodes)) < chances, 1)
        noise = log_uniform(keys[4], *self.noises)
        centres = jax.random.normal(keys[5], (self.classes, self.features))
        features = centres[labels] + noise * jax.random.normal(keys[6], (self.nodes, self.features))
        return GraphInstance(
            propagation=normalise_adjacency((upper | upper.T).astype(jnp.float32)),
            features=features / jnp.sqrt(1 + jnp.square(noise)),
            labels=labels,
            units=draw_whole(keys[7], self.units),
            initial_scale=log_uniform(keys[8], *self.initial_scales),
        )

    def init(self, instance: GraphInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        most = self.units[1]
        layers = draw_layers(
            key, {"hidden": dense_shapes(self.features, most), "output": dense_shapes(most, self.classes)}
        )
        live = live_units(self.units, instance.units)
        layers["hidden"]["kernel"] *= instance.initial_scale * live[None]
        # The kernel was drawn for the largest fan in, but only some units are in use.
        layers["output"]["kernel"] *= instance.initial_scale * jnp.sqrt(most / instance.units) * live[:, None]
        return layers

    def batch(self, instance: GraphInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw nodes of a split with replacement: inputs are their numbers, int32 [rows]."""
        first = 0 if split == "train" else _TRAIN - 1 + SPLITS.index(split)
        members = [node for node in range(self.nodes) if first <= node % _PERIOD < max(first + 1, _TRAIN)]
        chosen = jax.random.randint(key, (self.batch_size,), 0, len(members))
        nodes = jnp.asarray(members, jnp.int32)[chosen]
        return Batch(nodes, instance.labels[nodes], equal_weights(self.batch_size))

    @property
    def num_classes(self) -> int:
        return self.classes

    def logits(self, instance: GraphInstance, params: Layers, batch: Batch) -> Float[Array, "rows classes"]:
        """Return the outputs of the nodes in a batch."""
        hidden = instance.propagation @ dense(params["hidden"], instance.features)
        hidden = jax.nn.relu(hidden) * live_units(self.units, instance.units)[None]
        return (instance.propagation @ dense(params["output"], hidden))[batch.inputs]


def normalise_adjacency(edges: Float[Array, "nodes nodes"]) -> Float[Array, "nodes nodes"]:
    """Add an edge from each node to itself, and divide by the roots of both ends' degrees.

    The result is symmetric, and its eigenvalues are between -1 and 1.

    Args:
        edges: 1 where there is an edge, symmetric.
    """
    edges = jnp.maximum(edges, jnp.eye(edges.shape[0]))
    roots = jax.lax.rsqrt(jnp.sum(edges, axis=1))
    return edges * roots[:, None] * roots[None]


register("graph-convolution")(GraphConvolution)


@register("graph-convolution-family")
def graph_convolution_family() -> Task:
    """Sparse or dense graphs, clear or hidden communities, weak or strong features, 8 to 16 units."""
    return GraphConvolution(
        within=(0.1, 0.4), between=(0.01, 0.1), noises=(0.5, 3.0), units=(8, 16), initial_scales=(0.7, 1.4)
    )

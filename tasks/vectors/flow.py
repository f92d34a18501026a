"""Normalising flows on drawn densities."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import (
    Layers,
    Shapes,
    align,
    check_choices,
    check_ranges,
    dense,
    dense_shapes,
    draw_index,
    draw_layers,
    draw_scale,
    draw_whole,
    equal_weights,
)
from ..perceptron import activate, check_activations, live_units
from ..registry import register

_LARGEST_LOG_SCALE = 2.0


class FlowInstance(NamedTuple):
    """One density, and the flow that is to become it."""

    means: Float[Array, "modes dimensions"]
    spreads: Float[Array, " modes"]
    """Standard deviation of each component."""
    depth: Int[Array, ""]
    width: Int[Array, ""]
    activation: Int[Array, ""]
    """Index into the family's `activations`."""
    output_scale: Float[Array, ""]
    """Factor of the last kernel of every layer at the start."""


class RealNVP(Task):
    """Map points of a drawn mixture to a standard normal; the loss is the negative log likelihood per number.

    Each layer scales and shifts every second coordinate by amounts that a perceptron computes from the
    others; the next layer does the others. Logarithms of scales are kept between -2 and 2. With an output
    scale of 0, a layer is the identity at the start. A shallower member skips the last layers, and a narrower
    one masks the last hidden units.

    The mixture's means are normal with standard deviation 1.5, and its components' standard deviations
    log-uniform over `spreads`. Every key gives new data, and each split has its own stream of keys.

    References:
        Dinh, Sohl-Dickstein and Bengio 2017, arXiv:1605.08803.

    Raises:
        UsageError: for an empty range, an unknown activation, or fewer than two dimensions.
    """

    dimensions: int = struct.field(pytree_node=False, default=2)
    modes: int = struct.field(pytree_node=False, default=6)
    spreads: tuple[float, float] = struct.field(pytree_node=False, default=(0.15, 0.5))
    depths: tuple[int, int] = struct.field(pytree_node=False, default=(6, 6))
    widths: tuple[int, int] = struct.field(pytree_node=False, default=(32, 32))
    activations: tuple[str, ...] = struct.field(pytree_node=False, default=("tanh",))
    output_scales: tuple[float, ...] = struct.field(pytree_node=False, default=(0.0,))
    batch_size: int = struct.field(pytree_node=False, default=128)

    def __post_init__(self) -> None:
        check_ranges(spreads=self.spreads, depths=self.depths, widths=self.widths)
        check_activations(self.activations)
        check_choices(None, output_scales=self.output_scales)
        if self.dimensions < 2:
            raise UsageError("a flow scales coordinates by functions of others: give at least 2 dimensions")

    def sample(self, key: Key[Array, ""]) -> FlowInstance:
        """Draw a density, and a flow's entries uniformly."""
        keys = jax.random.split(key, 6)
        low, high = map(math.log, self.spreads)
        return FlowInstance(
            means=1.5 * jax.random.normal(keys[0], (self.modes, self.dimensions)),
            spreads=jnp.exp(jax.random.uniform(keys[1], (self.modes,), minval=low, maxval=high)),
            depth=draw_whole(keys[2], self.depths),
            width=draw_whole(keys[3], self.widths),
            activation=draw_index(keys[4], self.activations),
            output_scale=draw_scale(keys[5], self.output_scales),
        )

    def init(self, instance: FlowInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale 1 / sqrt(fan in), the last ones scaled; biases are zero."""
        shapes: Shapes = {}
        for index in range(self.depths[1]):
            shapes[f"hidden_{index}"] = dense_shapes(self.dimensions, self.widths[1])
            shapes[f"output_{index}"] = dense_shapes(self.widths[1], 2 * self.dimensions)
        layers = draw_layers(key, shapes)
        live = live_units(self.widths, instance.width)
        factor = instance.output_scale * jnp.sqrt(self.widths[1] / instance.width)
        for index in range(self.depths[1]):
            layers[f"hidden_{index}"]["kernel"] *= live[None]
            layers[f"output_{index}"]["kernel"] *= factor * live[:, None]
        return layers

    def batch(self, instance: FlowInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw new points; the targets are the components that they come from, which the loss ignores."""
        keys = jax.random.split(jax.random.fold_in(key, SPLITS.index(split)))
        modes = jax.random.randint(keys[0], (self.batch_size,), 0, self.modes)
        noise = jax.random.normal(keys[1], (self.batch_size, self.dimensions))
        points = instance.means[modes] + instance.spreads[modes][:, None] * noise
        return Batch(points, modes, equal_weights(self.batch_size))

    def loss(
        self, instance: FlowInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the negative log likelihood in nats per coordinate."""
        return -(batch.weights @ self.log_density(instance, params, batch.inputs)) / self.dimensions

    @property
    def ceiling(self) -> float:
        """About ten times the loss of a standard normal distribution."""
        return 20.0

    def log_density(
        self, instance: FlowInstance, params: Layers, points: Float[Array, "rows dimensions"]
    ) -> Float[Array, " rows"]:
        """Return the logarithm of the flow's density."""
        z, log_determinants = self.to_normal(instance, params, points)
        log_normal = -jnp.sum(jnp.square(z) + math.log(2 * math.pi), axis=-1) / 2
        return log_normal + log_determinants

    def to_normal(
        self, instance: FlowInstance, params: Layers, points: Float[Array, "rows dimensions"]
    ) -> tuple[Float[Array, "rows dimensions"], Float[Array, " rows"]]:
        """Map points; return their images, and the logarithm of the map's determinant at each."""
        x, total = points, jnp.zeros(points.shape[0])
        live = live_units(self.widths, instance.width)
        for index in range(self.depths[1]):
            given = (jnp.arange(self.dimensions) + index) % 2
            given = given.astype(jnp.float32)[None]
            hidden = dense(params[f"hidden_{index}"], x * given)
            hidden = activate(self.activations, instance.activation, hidden)
            hidden = hidden * align(live, hidden) if self.widths[0] != self.widths[1] else hidden
            raw, shift = jnp.split(dense(params[f"output_{index}"], hidden), 2, axis=-1)
            log_scale = _LARGEST_LOG_SCALE * jnp.tanh(raw / _LARGEST_LOG_SCALE) * (1 - given)
            new = x * jnp.exp(log_scale) + shift * (1 - given)
            added = jnp.sum(log_scale, axis=-1)
            if index >= self.depths[0]:
                new = jnp.where(index < instance.depth, new, x)
                added = jnp.where(index < instance.depth, added, 0)
            x, total = new, total + added
        return x, total


register("mixture-flow")(RealNVP)


@register("mixture-flow-8d")
def mixture_flow_8d() -> Task:
    """Eight dimensions, wider layers that start at random."""
    return RealNVP(8, modes=4, widths=(48, 48), output_scales=(0.5,))


@register("mixture-flow-family")
def mixture_flow_family() -> Task:
    """Density, depth, width, activation and the size of the first outputs are drawn."""
    return RealNVP(
        depths=(4, 6), widths=(16, 32), activations=("tanh", "relu", "silu"), output_scales=(0.0, 0.5)
    )

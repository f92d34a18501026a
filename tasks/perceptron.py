"""A multilayer perceptron whose width, depth, activation and initial scale may be drawn."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .errors import UsageError
from .layers import (
    Layers,
    align,
    check_choices,
    check_ranges,
    dense,
    dense_shapes,
    draw_index,
    draw_layers,
    draw_whole,
    log_uniform,
)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "sine": jnp.sin,
}


class PerceptronInstance(NamedTuple):
    """One member of the family; every entry is a scalar."""

    width: Int[Array, ""]
    depth: Int[Array, ""]
    activation: Int[Array, ""]
    """Index into the family's `activations`."""
    initial_scale: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Perceptron:
    """A family of perceptrons: a static field of tasks, with functions of the parameters.

    All ranges are inclusive, and with equal ends the entry is constant. Shapes are those of the largest
    member: a narrower one masks its last hidden units, whose weights start at zero and get no gradient; a
    shallower one skips its last hidden layers.

    Raises:
        UsageError: for an empty range or an unknown activation.
    """

    inputs: int
    outputs: int
    widths: tuple[int, int] = (32, 32)
    depths: tuple[int, int] = (1, 1)
    activations: tuple[str, ...] = ("relu",)
    initial_scales: tuple[float, float] = (1.0, 1.0)
    output_scale: float = 1.0
    """Further factor of the last kernel at the start; 0 makes all outputs 0."""

    def __post_init__(self) -> None:
        check_ranges(widths=self.widths, depths=self.depths, initial_scales=self.initial_scales)
        check_activations(self.activations)
        check_choices(None, output_scale=(self.output_scale,))

    def sample(self, key: Key[Array, ""]) -> PerceptronInstance:
        """Draw a member: integers and activations uniformly, the scale log-uniformly."""
        keys = jax.random.split(key, 4)
        return PerceptronInstance(
            width=draw_whole(keys[0], self.widths),
            depth=draw_whole(keys[1], self.depths),
            activation=draw_index(keys[2], self.activations),
            initial_scale=log_uniform(keys[3], *self.initial_scales),
        )

    def init(self, instance: PerceptronInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        units = [self.inputs, *[self.widths[1]] * self.depths[1], self.outputs]
        shapes = {
            f"layer_{index}": dense_shapes(*sizes) for index, sizes in enumerate(itertools.pairwise(units))
        }
        layers = draw_layers(key, shapes)
        live = live_units(self.widths, instance.width)
        for index, layer in enumerate(layers.values()):
            kernel = layer["kernel"] * instance.initial_scale
            if index > 0:
                # The kernel was drawn for the largest fan in, but only `width` units are in use.
                kernel = kernel * live[:, None] * jnp.sqrt(self.widths[1] / instance.width)
            hidden = index < len(units) - 2
            layer["kernel"] = kernel * (live[None] if hidden else self.output_scale)
        return layers

    def apply(
        self, instance: PerceptronInstance, layers: Layers, x: Float[Array, "*rows inputs"]
    ) -> Float[Array, "*rows outputs"]:
        """Return the outputs, which are affine in the last hidden layer."""
        live = live_units(self.widths, instance.width)
        for index in range(self.depths[1]):
            new = dense(layers[f"layer_{index}"], x)
            new = activate(self.activations, instance.activation, new)
            if self.widths[0] != self.widths[1]:
                new = new * align(live, new)
            x = jnp.where(index < instance.depth, new, x) if index >= self.depths[0] else new
        return dense(layers[f"layer_{self.depths[1]}"], x)


def perceptron_family(
    inputs: int, outputs: int, widths: tuple[int, int] = (16, 48), depths: tuple[int, int] = (1, 2)
) -> Perceptron:
    """Return perceptrons whose width, depth, activation and initial scale are drawn."""
    return Perceptron(inputs, outputs, widths, depths, ("relu", "tanh", "gelu"), (0.8, 1.25))


def check_activations(activations: tuple[str, ...]) -> None:
    """Raise UsageError for an unknown activation, or if there is none."""
    unknown = set(activations) - ACTIVATIONS.keys()
    if unknown or not activations:
        raise UsageError(f"activations {sorted(unknown)} are unknown; there are {', '.join(ACTIVATIONS)}")


def activate(activations: tuple[str, ...], index: Int[Array, ""], x: Array) -> Array:
    """Apply the activation of that index."""
    functions = [ACTIVATIONS[name] for name in activations]
    return functions[0](x) if len(functions) == 1 else jax.lax.switch(index, functions, x)


def live_units(widths: tuple[int, int], width: Int[Array, ""]) -> Float[Array, " units"]:
    """Return 1 for the units that a member has, and 0 for the other units of the largest member."""
    return (jnp.arange(widths[1]) < width).astype(jnp.float32)

"""A small multilayer perceptron over planes: each unit is one array over all parameters of a tensor."""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

Tensor = Float[Array, "..."]
Layer = dict[str, Array]

WIDEST_IN_PLANES = 16
"""Units of a layer that is computed plane by plane; that of a wider one takes seconds to compile."""


def init_layers(key: Key[Array, ""], sizes: tuple[int, ...]) -> tuple[Layer, ...]:
    """Draw layers: truncated normal kernels of scale 1/sqrt(fan in), zero biases.

    Args:
        key: a typed PRNG key.
        sizes: number of inputs, then of each layer's units.
    """
    keys = jax.random.split(key, len(sizes) - 1)
    return tuple(
        {
            "kernel": jax.random.truncated_normal(k, -2, 2, (fan_in, fan_out), jnp.float32)
            / np.float32(fan_in**0.5),
            "bias": jnp.zeros(fan_out, jnp.float32),
        }
        for k, fan_in, fan_out in zip(keys, sizes, sizes[1:], strict=False)
    )


def linear(layer: Layer, rows: Float[Array, "rows inputs"]) -> Float[Array, "rows outputs"]:
    """Apply a linear layer to the rows of an array."""
    return rows @ layer["kernel"] + layer["bias"][None]


def apply_layers(layers: tuple[Layer, ...], hidden: list[Tensor]) -> list[Tensor]:
    """Apply ReLU and a linear layer, repeatedly.

    Args:
        layers: the layers after the first.
        hidden: pre-activations of the first layer, one array per unit.

    Returns:
        The last layer's pre-activations, one array per unit.
    """
    return (_apply_planes if len(hidden) <= WIDEST_IN_PLANES else _stacked_layers)(layers, hidden)


@jax.custom_jvp
def _apply_planes(layers: tuple[Layer, ...], hidden: list[Tensor]) -> list[Tensor]:
    for layer in layers:
        hidden = [jax.nn.relu(h) for h in hidden]
        weights, biases = (numbers(layer[name].T, hidden[0].ndim) for name in ("kernel", "bias"))
        columns = [weights[i : i + len(hidden)] for i in range(0, len(weights), len(hidden))]
        hidden = [
            functools.reduce(operator.add, [h * w for h, w in zip(hidden, column, strict=True)], bias)
            for column, bias in zip(columns, biases, strict=True)
        ]
    return hidden


def numbers(array: Array, rank: int) -> list[Tensor]:
    """Return the numbers of an array, each of a rank and with size 1 along each axis.

    This is one operation, and they multiply planes of that rank in one each. Indexing takes two for each
    number and one more to multiply: tracing and compiling a rule would take twice as long.
    """
    column = array.reshape(-1, *[1] * max(rank - 1, 0))
    pieces = jax.lax.split(column, (1,) * array.size)
    return list(pieces) if rank else [piece[0] for piece in pieces]


@_apply_planes.defjvp
def _differentiate(primals: tuple, tangents: tuple) -> tuple[list[Tensor], list[Tensor]]:
    """Differentiate the same function written with stacked units.

    With planes, the derivative would have an expression per weight, and its transpose a reduction per weight:
    too many to compile. With stacked units it is one matrix product per layer.
    """
    return _apply_planes(*primals), jax.jvp(_stacked_layers, primals, tangents)[1]


def _stacked_layers(layers: tuple[Layer, ...], hidden: list[Tensor]) -> list[Tensor]:
    return list(apply_stacked(layers, jnp.stack(hidden)))


def apply_stacked(layers: tuple[Layer, ...], hidden: Float[Array, "units ..."]) -> Float[Array, "units ..."]:
    """Do what `apply_layers` does over units in one array: smaller programs, for wide layers."""
    for layer in layers:
        hidden = linear_stacked(layer["kernel"], layer["bias"], jax.nn.relu(hidden))
    return hidden


def linear_stacked(
    kernel: Float[Array, "inputs outputs"], bias: Float[Array, " outputs"], x: Float[Array, "inputs ..."]
) -> Float[Array, "outputs ..."]:
    """Apply a linear layer to units along the first axis."""
    return jnp.tensordot(kernel.T, x, axes=1) + bias.reshape(-1, *[1] * (x.ndim - 1))

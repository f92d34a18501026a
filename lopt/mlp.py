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


def apply_layers(layers: tuple[Layer, ...], hidden: list[Tensor]) -> list[Tensor]:
    """Apply ReLU and a linear layer, repeatedly.

    Args:
        layers: the layers after the first.
        hidden: pre-activations of the first layer, one array per unit.

    Returns:
        The last layer's pre-activations, one array per unit.
    """
    return _apply_planes(layers, hidden)


@jax.custom_jvp
def _apply_planes(layers: tuple[Layer, ...], hidden: list[Tensor]) -> list[Tensor]:
    for layer in layers:
        hidden = [jax.nn.relu(h) for h in hidden]
        hidden = [
            functools.reduce(operator.add, [h * w for h, w in zip(hidden, column, strict=True)], bias)
            for column, bias in zip(layer["kernel"].T, layer["bias"], strict=True)
        ]
    return hidden


@_apply_planes.defjvp
def _differentiate(primals: tuple, tangents: tuple) -> tuple[list[Tensor], list[Tensor]]:
    """Differentiate the same function written with stacked units.

    With planes, the derivative would have an expression per weight, and its transpose a reduction per weight:
    too many to compile. With stacked units it is one matrix product per layer.
    """
    return _apply_planes(*primals), jax.jvp(_apply_stacked, primals, tangents)[1]


def _apply_stacked(layers: tuple[Layer, ...], hidden: list[Tensor]) -> list[Tensor]:
    stacked = jnp.stack(hidden)
    for layer in layers:
        bias = layer["bias"].reshape(-1, *[1] * (stacked.ndim - 1))
        stacked = jnp.tensordot(layer["kernel"].T, jax.nn.relu(stacked), axes=1) + bias
    return list(stacked)

"""A small multilayer perceptron over planes: one array per unit, every parameter of a tensor at once."""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Tensor = Float[Array, "..."]
Layer = dict[str, Array]


def init_layers(key: Key[Array, ""], sizes: tuple[int, ...]) -> tuple[Layer, ...]:
    """Draw layers: truncated normal kernels of scale 1/sqrt(fan in), zero biases.

    Args:
        key: a typed PRNG key.
        sizes: units of the input and of each layer after it.
    """
    keys = jax.random.split(key, len(sizes) - 1)
    return tuple(
        {
            "kernel": jax.random.truncated_normal(k, -2, 2, (fan_in, fan_out)) / jnp.sqrt(fan_in),
            "bias": jnp.zeros(fan_out),
        }
        for k, fan_in, fan_out in zip(keys, sizes, sizes[1:], strict=False)
    )


def apply_layers(layers: tuple[Layer, ...], hidden: list[Tensor]) -> list[Tensor]:
    """Apply ReLU and a linear layer in turn.

    Args:
        layers: the layers after the first, whose pre-activations are given.
        hidden: pre-activations of the first layer, one array per unit.

    Returns:
        The last layer's pre-activations, one array per unit.
    """
    for layer in layers:
        hidden = [jax.nn.relu(h) for h in hidden]
        hidden = [
            functools.reduce(operator.add, [h * w for h, w in zip(hidden, column, strict=True)], bias)
            for column, bias in zip(layer["kernel"].T, layer["bias"], strict=True)
        ]
    return hidden

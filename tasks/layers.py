"""Layers for several tasks, as plain functions of dictionaries of arrays."""

from __future__ import annotations

import math
from collections.abc import Sized

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from .errors import UsageError

Layers = dict[str, dict[str, Array]]
"""Layer -> tensor ("kernel", "embedding", "bias", "scale") -> array."""

Shapes = dict[str, dict[str, tuple[int, ...]]]
"""Layer -> tensor -> shape."""

_EPSILON = 1e-5


def draw_layers(key: Key[Array, ""], shapes: Shapes) -> Layers:
    """Draw initial parameters.

    Kernels are normal numbers truncated at 2, times 1 / sqrt(fan in), where the fan in is the product of all
    axes except the last. Embeddings are the same with 1 / sqrt(features); biases are 0 and scales 1.

    Args:
        key: one typed PRNG key.
        shapes: the shapes of every layer's tensors; a tensor's name determines its kind.
    """
    drawn = {
        (layer, name): shape
        for layer, tensors in shapes.items()
        for name, shape in tensors.items()
        if name in ("kernel", "embedding")
    }
    sizes = [math.prod(shape) for shape in drawn.values()]
    # One draw for all layers: each separate draw takes seconds to compile.
    numbers = jnp.split(jax.random.truncated_normal(key, -2, 2, (sum(sizes),)), np.cumsum(sizes)[:-1])
    layers: Layers = {
        layer: {
            name: jnp.ones(shape) if name == "scale" else jnp.zeros(shape) for name, shape in tensors.items()
        }
        for layer, tensors in shapes.items()
    }
    for ((layer, name), shape), values in zip(drawn.items(), numbers, strict=True):
        fan_in = shape[-1] if name == "embedding" else math.prod(shape[:-1])
        layers[layer][name] = values.reshape(shape) / math.sqrt(fan_in)
    return layers


def dense_shapes(inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an affine map."""
    return {"kernel": (inputs, outputs), "bias": (outputs,)}


def dense(layer: dict[str, Array], x: Float[Array, "*rows inputs"]) -> Float[Array, "*rows outputs"]:
    """Apply an affine map, or a linear one if the layer has no bias."""
    mapped = x @ layer["kernel"]
    return mapped + align(layer["bias"], mapped) if "bias" in layer else mapped


def align(values: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Give an array the rank of another, by axes of size 1 before its own."""
    return jax.lax.expand_dims(values, range(x.ndim - values.ndim))


def scale_and_shift(layer: dict[str, Array], x: Float[Array, "*rows f"]) -> Float[Array, "*rows f"]:
    """Multiply every feature by its scale, and add its bias."""
    return x * align(layer["scale"], x) + align(layer["bias"], x)


def normalise(x: Float[Array, "..."], axes: int | tuple[int, ...]) -> Float[Array, "..."]:
    """Shift and scale to mean 0 and variance 1 over some axes."""
    centred = x - jnp.mean(x, axis=axes, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=axes, keepdims=True) + _EPSILON)


def equal_weights(rows: int) -> Float[Array, " rows"]:
    """Return the weight of each row of a batch in its mean loss."""
    return jnp.full(rows, 1 / rows)


def share_right(
    logits: Float[Array, "*rows classes"], labels: Int[Array, "*rows"], weights: Float[Array, "*rows"]
) -> Float[Array, ""]:
    """Return the weighted share of rows whose largest logit is the label's.

    A row with a non-finite logit counts as wrong, because it predicts nothing.
    """
    right = (jnp.argmax(logits, axis=-1) == labels) & jnp.isfinite(logits).all(axis=-1)
    return jnp.sum(jnp.where(right, weights, 0))


def log_uniform(key: Key[Array, ""], low: float, high: float) -> Float[Array, ""]:
    """Draw a number that is log-uniform between two positive numbers."""
    return jnp.exp(jax.random.uniform(key, minval=math.log(low), maxval=math.log(high)))


def draw_whole(key: Key[Array, ""], numbers: tuple[int, int]) -> Int[Array, ""]:
    """Draw a whole number uniformly from a range, both ends included."""
    return jax.random.randint(key, (), numbers[0], numbers[1] + 1)


def draw_index(key: Key[Array, ""], choices: Sized) -> Int[Array, ""]:
    """Draw the index of one of several choices, all equally probable."""
    return jax.random.randint(key, (), 0, len(choices))


def draw_scale(key: Key[Array, ""], scales: tuple[float, ...]) -> Float[Array, ""]:
    """Draw one of several numbers, all equally probable."""
    return jnp.asarray(scales, jnp.float32)[draw_index(key, scales)]


def draw_size(key: Key[Array, ""], sizes: tuple[int, int]) -> Int[Array, ""]:
    """Draw a whole number that is log-uniform over a range, both ends included."""
    low, high = sizes
    return jnp.clip(jnp.round(log_uniform(key, low, high)), low, high).astype(jnp.int32)


def check_choices(known: tuple[str, ...] | None, **choices: tuple[str | float, ...]) -> None:
    """Raise UsageError for choices of a family that are none, unknown, or negative numbers."""
    for name, given in choices.items():
        if not given:
            raise UsageError(f"{name} is empty: give at least one value to choose from")
        if known is not None and (unknown := sorted(map(str, set(given) - set(known)))):
            raise UsageError(f"{name} {unknown} are unknown; there are {', '.join(known)}")
        if known is None and not all(math.isfinite(value) and value >= 0 for value in map(float, given)):
            raise UsageError(f"{name}={given} are not scales: give numbers from 0 up")


def check_ranges(**ranges: tuple[float, float]) -> None:
    """Raise UsageError for a range of a family that is empty or not positive."""
    for name, (low, high) in ranges.items():
        if not 0 < low <= high:
            raise UsageError(f"{name}=({low}, {high}) is not a range: give two positive numbers, low first")

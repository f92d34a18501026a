"""A network per parameter whose steps are relative to the size of its tensor; VeLO and Celo share it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .accumulators import MOMENTS, Moments, factored_axes, init_moments, initial_decays, update_moments
from .axis_order import network
from .features import NUM_FEATURES, Features, parameter_features, project
from .mlp import Layer, apply_layers, init_layers
from .per_tensor import Tensors
from .sizes import means

Tensor = Float[Array, "..."]

NUM_RELATIVE_FEATURES = NUM_FEATURES + 2
AXIS_ORDER = network
"""Of equal axes: the original's."""
LARGEST_GRADIENT = 1000.0
"""What the original clips gradients to."""
_PARAM = 1
"""The parameter's place among the features."""


def init_relative_mlp(key: Key[Array, ""], hidden_size: int, hidden_layers: int) -> tuple[Layer, ...]:
    """Draw a network with outputs for direction and magnitude."""
    return init_layers(key, (NUM_RELATIVE_FEATURES, *[hidden_size] * hidden_layers, 2))


def relative_features(grad: Tensor, param: Tensor, moments: Moments) -> Features:
    """Compute the features of `parameter_features` and two more: g clipped to 0.1, and g over its size.

    Where a tensor is not factored, momentum is divided by the accumulator's root with nothing added to it.
    """
    known = parameter_features(grad, param, moments, AXIS_ORDER)
    own = [jnp.clip(grad, -0.1, 0.1), grad * jax.lax.rsqrt(moments.second + 1e-6)]
    kept = NUM_FEATURES
    if factored_axes(grad.shape) is None:
        accumulators = jnp.moveaxis(moments.col, -1, 0)
        own = [m * jax.lax.rsqrt(a) for m, a in zip(moments.momentum, accumulators, strict=True)] + own
        kept -= len(moments.momentum)
    squares = means([jnp.square(feature) for feature in own])
    return Features((*known.values[:kept], *own), jnp.concatenate([known.mean_squares[:kept], squares]))


def start_moments(tensors: Tensors) -> Moments:
    """Return trees of zero averages."""
    return tensors.start(functools.partial(init_moments, order=AXIS_ORDER), MOMENTS)


def relative_step(
    layers: Sequence[Layer],
    grad: Tensor,
    param: Tensor,
    moments: Moments,
    step_scale: float,
    magnitude_scale: float,
) -> tuple[Tensor, Moments]:
    """Clip the gradient, follow it, and run the network.

    Returns:
        direction * sqrt(mean(p^2) + 1e-9) * exp(magnitude_scale * magnitude) * step_scale, and the moments
        after this gradient.
    """
    grad = jnp.clip(grad, -LARGEST_GRADIENT, LARGEST_GRADIENT)
    moments = update_moments(moments, grad, initial_decays(), AXIS_ORDER)
    features = relative_features(grad, param, moments)
    hidden = project(features, layers[0]["kernel"], layers[0]["bias"])
    direction, magnitude = apply_layers(tuple(layers[1:]), hidden)
    size = jnp.sqrt(features.mean_squares[_PARAM] + 1e-9)
    return direction * (size * jnp.exp(magnitude_scale * magnitude)) * step_scale, moments

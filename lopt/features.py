"""What a per-parameter network sees: 28 features of each parameter, and how far the training run is.

The features are those of Metz et al. 2022 (arXiv 2203.11860), their small_fc_lopt, each divided by its
root mean square over the tensor. The two ideas that keep them cheap:

* normalisation is a scalar per feature and tensor, so it moves into the first layer's weights:
  w . (s f) = (s w) . f, and no normalised feature is ever stored;
* twelve features of a matrix depend on its row or its column alone, so they stay a row and a column,
  and reach the hidden layer as one row plus one column, by broadcasting.
"""

from __future__ import annotations

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .accumulators import Moments, factored_axes, factors

Tensor = Float[Array, "..."]

NUM_FEATURES = 28
STEP_SCALES = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
FRACTION_CENTRES = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
_NORM_EPS = 1e-5


class Features(NamedTuple):
    """The 28 features of one tensor, unnormalised and in the paper's order."""

    values: tuple[Tensor, ...]
    """Each of the tensor's rank, with size 1 along the axes it does not depend on."""
    mean_squares: tuple[Float[Array, ""], ...]
    """The mean square of each over the whole tensor."""


def parameter_features(grad: Tensor, param: Tensor, moments: Moments) -> Features:
    """Compute the features of one tensor from its gradient, value and three-decay moments."""
    momentum, second = moments.momentum, moments.second
    rsqrt_second = jax.lax.rsqrt(second + 1e-6)
    elementwise = (grad, param, *momentum, second, *[m * rsqrt_second for m in momentum], rsqrt_second)
    # Products of planes that exist anyway: cheaper than squaring the planes above.
    inverse_second = 1 / (second + 1e-6)
    momentum_squared = [jnp.square(m) for m in momentum]
    squares = (
        *(jnp.square(x) for x in (grad, param)),
        *momentum_squared,
        jnp.square(second),
        *[m2 * inverse_second for m2 in momentum_squared],
        inverse_second,
    )
    axes = factored_axes(grad.shape)
    rest = (
        _full_features(grad, moments)
        if axes is None
        else _factored_features(grad, moments, axes, jnp.square(grad), momentum_squared)
    )
    return Features(
        values=elementwise + rest.values,
        mean_squares=tuple(jnp.mean(x) for x in squares) + rest.mean_squares,
    )


def _factored_features(
    grad: Tensor,
    moments: Moments,
    axes: tuple[int, int],
    grad_squared: Tensor,
    momentum_squared: list[Tensor],
) -> Features:
    rows, cols = factors(moments, axes)
    inverse_roots = [r * c for r, c in zip(rows, cols, strict=True)]
    small = (
        *moments.row,
        *moments.col,
        *[jax.lax.rsqrt(x + 1e-8) for x in (*moments.row, *moments.col)],
    )
    return Features(
        values=(
            *[grad * u for u in inverse_roots],
            *small,
            *[m * u for m, u in zip(moments.momentum, inverse_roots, strict=True)],
        ),
        mean_squares=(
            *[_weighted_mean(grad_squared, r, c) for r, c in zip(rows, cols, strict=True)],
            *[jnp.mean(jnp.square(x)) for x in small],
            *[_weighted_mean(m2, r, c) for m2, r, c in zip(momentum_squared, rows, cols, strict=True)],
        ),
    )


def _weighted_mean(squared: Tensor, row: Tensor, col: Tensor) -> Float[Array, ""]:
    """Mean of squared * row^2 * col^2; of a matrix as a product with a vector, which saves a plane."""
    if squared.ndim > 2:
        return jnp.mean(squared * (jnp.square(row) * jnp.square(col)))
    minor, major = (row, col) if row.shape[-1] > 1 else (col, row)
    inner = squared @ jnp.square(minor).T
    return jnp.sum(inner * jnp.square(major)) / squared.size


def _full_features(grad: Tensor, moments: Moments) -> Features:
    """Vectors and scalars are too small to factor: a full accumulator stands for row and column."""
    full = moments.col
    values = (
        *[grad * jax.lax.rsqrt(jnp.maximum(x + 1e-9, 1e-9)) for x in full],
        *(full * 2),
        *([jax.lax.rsqrt(x + 1e-8) for x in full] * 2),
        *[m * jax.lax.rsqrt(x + 1e-6) for m, x in zip(moments.momentum, full, strict=True)],
    )
    return Features(values, tuple(jnp.mean(jnp.square(x)) for x in values))


def project(
    features: Features, kernel: Float[Array, "28 hidden"], bias: Float[Array, " hidden"]
) -> list[Tensor]:
    """Apply a linear layer to the normalised features.

    Returns:
        One array of the tensor's shape per hidden unit: a list, because units in a trailing axis would
        leave processors without long vectors.
    """
    scales = jax.lax.rsqrt(_NORM_EPS + jnp.stack(features.mean_squares))
    return _project_planes(features.values, kernel * scales[:, None], bias)


@jax.custom_jvp
def _project_planes(values: tuple[Tensor, ...], weights: Array, bias: Array) -> list[Tensor]:
    def unit(h: int) -> Tensor:
        parts = [
            functools.reduce(operator.add, [values[i] * weights[i, h] for i in same])
            for same in _by_shape(values)
        ]
        return functools.reduce(operator.add, parts, bias[h])

    return [unit(h) for h in range(weights.shape[1])]


@_project_planes.defjvp
def _differentiate(primals: tuple, tangents: tuple) -> tuple[list[Tensor], list[Tensor]]:
    """Differentiate the same function written with stacked features and units, as in `mlp.py`."""
    return _project_planes(*primals), jax.jvp(_project_stacked, primals, tangents)[1]


def _project_stacked(values: tuple[Tensor, ...], weights: Array, bias: Array) -> list[Tensor]:
    rank = values[0].ndim
    units = bias.reshape(-1, *[1] * rank)
    for same in _by_shape(values):
        stacked = jnp.stack([values[i] for i in same])
        units = units + jnp.tensordot(weights[jnp.asarray(same)].T, stacked, axes=1)
    return list(units)


def _by_shape(values: tuple[Tensor, ...]) -> list[list[int]]:
    """Group the indices of features of the same shape."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, value in enumerate(values):
        by_shape.setdefault(value.shape, []).append(index)
    return list(by_shape.values())


def step_features(count: Int[Array, ""]) -> Float[Array, "11"]:
    """Return tanh(t/s - 1) for eleven time scales s, t being the updates done so far."""
    return jnp.tanh(count / jnp.asarray(STEP_SCALES, jnp.float32) - 1)


def fraction_features(fraction: Float[Array, ""]) -> Float[Array, "9"]:
    """Return tanh(10 (t/T - k)) for nine points k of a training run (Metz et al. 2022, arXiv 2211.09760)."""
    return jnp.tanh(10 * (fraction - jnp.asarray(FRACTION_CENTRES, jnp.float32)))

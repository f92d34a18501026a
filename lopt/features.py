"""Inputs of the per-parameter networks: 28 features of each parameter, and the progress of the run.

The features are those of small_fc_lopt (Metz et al. 2022, arXiv 2203.11860), each divided by its root mean
square over the tensor. Two ideas keep them cheap:

* normalisation is a scalar per feature and tensor, so it is applied to the first layer's weights: w . (s f) =
  (s w) . f, and no normalised feature is ever stored;
* twelve features of a matrix depend only on the row or the column, so they are kept as a row or a column, and
  enter the hidden layer as one row plus one column, by broadcasting.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .accumulators import Moments, factored_axes, factors
from .axis_order import AxisOrder, stable
from .mlp import WIDEST_IN_PLANES, numbers
from .sizes import means

Tensor = Float[Array, "..."]
Planes = tuple[Tensor, ...]

NUM_FEATURES = 28
STEP_SCALES = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
FRACTION_CENTRES = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
_NORM_EPS = 1e-5


class Features(NamedTuple):
    """The features of one tensor, unnormalised: the 28 in the paper's order, or another rule's own."""

    values: Planes
    """Each has the tensor's rank, with size 1 along the axes it does not depend on."""
    mean_squares: Float[Array, " features"]
    """The mean square of each over the whole tensor."""


def parameter_features(grad: Tensor, param: Tensor, moments: Moments, order: AxisOrder = stable) -> Features:
    """Compute the features of one tensor from its gradient, value and three-decay moments.

    Their squares are computed from squares, not from the features, so the pass that sums them and the pass
    that runs the network share no intermediate result that the compiler would store.
    """
    second, axes = moments.second, factored_axes(grad.shape, order)
    squared = Squares(jnp.square(grad), tuple(jnp.square(m) for m in moments.momentum))
    rsqrt_second, inverse_second = jax.lax.rsqrt(second + 1e-6), 1 / (second + 1e-6)
    values, squares = (
        _full_features(grad, moments, squared)
        if axes is None
        else _factored_features(grad, moments, axes, squared)
    )
    values = (
        *(grad, param, *moments.momentum, second),
        *[m * rsqrt_second for m in moments.momentum],
        rsqrt_second,
        *values,
    )
    squares = (
        *(squared.grad, jnp.square(param), *squared.momentum, jnp.square(second)),
        *[m2 * inverse_second for m2 in squared.momentum],
        inverse_second,
        *squares,
    )
    return Features(values, means_of_planes(squares))


def means_of_planes(planes: Planes) -> Float[Array, " planes"]:
    """Return the mean of each of several arrays, each of which may have size 1 along any axis."""
    by_shape = _by_shape(planes)
    found = jnp.concatenate([means([planes[i] for i in same]) for same in by_shape])
    return found[np.argsort([i for same in by_shape for i in same])]


class Squares(NamedTuple):
    """Squares that the squares of several features are products of."""

    grad: Tensor
    momentum: tuple[Tensor, ...]


def _factored_features(
    grad: Tensor, moments: Moments, axes: tuple[int, int], squared: Squares
) -> tuple[Planes, Planes]:
    """Return the 18 features of a factored second moment, and their squares."""
    rows, cols = factors(moments, axes)
    both = list(zip(by_decay(rows), by_decay(cols), strict=True))
    averages = (moments.row, moments.col)
    values = (
        *[grad * (r * c) for r, c in both],
        *[thin for x in averages for thin in by_decay(x)],
        *[thin for x in averages for thin in by_decay(jax.lax.rsqrt(x + 1e-8))],
        *[m * (r * c) for m, (r, c) in zip(moments.momentum, both, strict=True)],
    )
    weights = [jnp.square(r) * jnp.square(c) for r, c in both]
    squares = (
        *[squared.grad * w for w in weights],
        *[thin for x in averages for thin in by_decay(jnp.square(x))],
        *[thin for x in averages for thin in by_decay(1 / (x + 1e-8))],
        *[m2 * w for m2, w in zip(squared.momentum, weights, strict=True)],
    )
    return values, squares


def _full_features(grad: Tensor, moments: Moments, squared: Squares) -> tuple[Planes, Planes]:
    """Return the same for a vector or scalar, whose full accumulator replaces row and column."""
    full = by_decay(moments.col)
    values = (
        *[grad * jax.lax.rsqrt(jnp.maximum(x + 1e-9, 1e-9)) for x in full],
        *(full * 2),
        *([jax.lax.rsqrt(x + 1e-8) for x in full] * 2),
        *[m * jax.lax.rsqrt(x + 1e-6) for m, x in zip(moments.momentum, full, strict=True)],
    )
    squares = (
        *[squared.grad / jnp.maximum(x + 1e-9, 1e-9) for x in full],
        *([jnp.square(x) for x in full] * 2),
        *([1 / (x + 1e-8) for x in full] * 2),
        *[m2 / (x + 1e-6) for m2, x in zip(squared.momentum, full, strict=True)],
    )
    return values, squares


def by_decay(x: Float[Array, "... decays"]) -> Planes:
    """Return the averages at each decay, of which the last axis holds several."""
    return tuple(x[..., i] for i in range(x.shape[-1]))


def project(
    features: Features,
    kernel: Float[Array, "features hidden"],
    bias: Float[Array, " hidden"],
    eps: float = _NORM_EPS,
) -> list[Tensor]:
    """Apply a linear layer to the normalised features.

    Args:
        features: of one tensor.
        kernel: the layer's.
        bias: the layer's.
        eps: added to a feature's mean square before its root is taken.

    Returns:
        A list with one array of the tensor's shape per hidden unit, because with units in a trailing axis the
        inner loops would be too short to vectorise.
    """
    scales = jax.lax.rsqrt(eps + features.mean_squares)
    by_plane = len(bias) <= WIDEST_IN_PLANES
    return (_project_planes if by_plane else _project_stacked)(
        features.values, kernel * scales[:, None], bias
    )


@jax.custom_jvp
def _project_planes(values: tuple[Tensor, ...], weights: Array, bias: Array) -> list[Tensor]:
    units, rank = weights.shape[1], values[0].ndim
    kernel, biases = numbers(weights, rank), numbers(bias, rank)

    def unit(h: int) -> Tensor:
        parts = [
            functools.reduce(operator.add, [values[i] * kernel[i * units + h] for i in same])
            for same in _by_shape(values)
        ]
        return functools.reduce(operator.add, parts, biases[h])

    return [unit(h) for h in range(units)]


@_project_planes.defjvp
def _differentiate(primals: tuple, tangents: tuple) -> tuple[list[Tensor], list[Tensor]]:
    """Differentiate the same function written with stacked features and units, as in `mlp.py`."""
    return _project_planes(*primals), jax.jvp(_project_stacked, primals, tangents)[1]


def _project_stacked(values: tuple[Tensor, ...], weights: Array, bias: Array) -> list[Tensor]:
    rank = values[0].ndim
    units: Array = bias.reshape(-1, *[1] * rank)
    for same in _by_shape(values):
        stacked = jnp.stack([values[i] for i in same])
        units = units + jnp.tensordot(weights[jnp.asarray(same)].T, stacked, axes=1)
    return list(units)


def _by_shape(values: Sequence[Tensor]) -> list[list[int]]:
    """Group the indices of features of the same shape."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, value in enumerate(values):
        by_shape.setdefault(value.shape, []).append(index)
    return list(by_shape.values())


def step_features(count: Int[Array, ""]) -> Float[Array, "11"]:
    """Return tanh(t/s - 1) for eleven time scales s, where t is the number of updates so far."""
    return jnp.tanh(count.astype(jnp.float32) / jnp.asarray(STEP_SCALES, jnp.float32) - 1)


def fraction_done(count: Int[Array, ""], horizon: Int[Array, ""]) -> Float[Array, ""]:
    """Return the fraction of a training run that is done, at most 1."""
    return jnp.minimum(count_over_horizon(count, horizon), 1.0)


def count_over_horizon(count: Int[Array, ""], horizon: Int[Array, ""]) -> Float[Array, ""]:
    """Return the fraction of a training run that is done, above 1 beyond its horizon."""
    return count.astype(jnp.float32) / horizon.astype(jnp.float32)


def fraction_features(fraction: Float[Array, ""]) -> Float[Array, "9"]:
    """Return tanh(10 (t/T - k)) for nine points k of a training run (Metz et al. 2022, arXiv 2211.09760)."""
    return jnp.tanh(10 * (fraction - jnp.asarray(FRACTION_CENTRES, jnp.float32)))

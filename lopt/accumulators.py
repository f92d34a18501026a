"""Exponential moving averages of a tensor's gradient, which the learned rules read.

None is bias-corrected here; a rule that needs the correction applies it.
References: Metz et al. 2022 (arXiv 2203.11860); factoring after Shazeer and Stern 2018 (arXiv 1804.04235).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy import argsort

from .layout import Layout
from .placement import zeros_like

Tensor = Float[Array, "..."]

INITIAL_MOMENTUM = (0.9, 0.99, 0.999)
INITIAL_SECOND = 0.999
INITIAL_FACTORED = (0.9, 0.99, 0.999)


class Moments(NamedTuple):
    """Moving averages of one tensor's gradient; in a state, each is a tree over the parameters."""

    momentum: tuple[Tensor, ...]
    """Averages of g, one per decay, each of the tensor's shape."""
    second: Tensor
    """Average of g^2, of the tensor's shape."""
    row: Float[Array, "... factored"]
    """Averages of the mean of g^2 over the largest axis (kept with size 1), with a last axis of decays.

    Unused below rank 2.
    """
    col: Float[Array, "... factored"]
    """The same over the second largest axis; below rank 2, averages of g^2 itself."""


MOMENTS = Moments((0, 0, 0), 0, 0, 0)  # type: ignore[arg-type]
"""The structure of `Moments`, for `Tensors`."""


class Decays(NamedTuple):
    """Decay rates of `Moments`, each in [0, 1): 1 - 1/memory in inner steps."""

    momentum: Float[Array, " momenta"]
    second: Float[Array, ""]
    factored: Float[Array, " factored"]


def factored_axes(shape: Sequence[int]) -> tuple[int, int] | None:
    """Return (largest axis, second largest axis), or None below rank 2."""
    if len(shape) < 2:
        return None
    order = argsort(shape, kind="stable")
    return int(order[-1]), int(order[-2])


def init_moments(param: Tensor, layout: Layout) -> Moments:
    """Return zero averages for one leaf, at three decays of g, one of g^2 and three of its factors.

    They are computed from the parameter, so they are placed on the same devices.
    """
    zeros, decays = zeros_like(param), len(INITIAL_FACTORED)
    own = [axis for axis in range(param.ndim) if axis not in layout.stacked]
    axes = factored_axes([param.shape[axis] for axis in own])

    def means_over(over: list[int]) -> Array:
        thin = jnp.sum(zeros, over, keepdims=True)
        return jnp.broadcast_to(thin[..., None], (*thin.shape, decays))

    if axes is None:
        row, col = means_over(own), zeros_like(param, decays)
    else:
        row, col = (means_over([own[axis]]) for axis in axes)
    return Moments((zeros,) * len(INITIAL_MOMENTUM), zeros, row, col)


def update_moments(moments: Moments, grad: Tensor, decays: Decays) -> Moments:
    """Update every average with the current gradient."""
    squared = jnp.square(grad)
    axes = factored_axes(grad.shape)
    row_now, col_now = (squared, squared) if axes is None else (_mean(squared + 1e-30, axis) for axis in axes)
    return Moments(
        momentum=tuple(_ema(decays.momentum[i], m, grad) for i, m in enumerate(moments.momentum)),
        second=_ema(decays.second, moments.second, squared),
        row=moments.row if axes is None else _emas(decays.factored, moments.row, row_now),
        col=_emas(decays.factored, moments.col, col_now),
    )


def factors(moments: Moments, axes: tuple[int, int]) -> tuple[Array, Array]:
    """Return the row and column factors whose product approximates g^2's inverse square root.

    Args:
        moments: averages of a tensor of rank 2 or more.
        axes: the tensor's `factored_axes`.

    Returns:
        Factors of the shapes of `moments.row` and `moments.col`.
    """
    return _rsqrt_floor(moments.row / (_mean(moments.row, axes[1]) + 1e-9)), _rsqrt_floor(moments.col)


def meta_learned_decays(
    momentum: Float[Array, "3"], second: Float[Array, ""], factored: Float[Array, "3"]
) -> Decays:
    """Map meta-learned offsets (initially 0) to decays: 1 - exp(10 (log(1 - d0)/10 + offset)).

    The factor of ten makes one unit of theta a factor of e^10 in memory, so the same sigma suits decays and
    weights (Metz et al. 2022). The caller clips the decays.
    """

    def decay(initial: Sequence[float] | float, offset: Array) -> Array:
        return 1 - jnp.exp(10 * (jnp.log1p(-jnp.asarray(initial, jnp.float32)) / 10 + offset))

    return Decays(
        decay(INITIAL_MOMENTUM, momentum), decay(INITIAL_SECOND, second), decay(INITIAL_FACTORED, factored)
    )


def _emas(decays: Float[Array, " n"], averages: Float[Array, "... n"], now: Tensor) -> Array:
    return _ema(decays.reshape(*[1] * now.ndim, -1), averages, now[..., None])


def _ema(decay: Tensor, average: Tensor, now: Tensor) -> Tensor:
    return decay * average + (1 - decay) * now


def _mean(x: Tensor, axis: int) -> Tensor:
    return jnp.mean(x, axis=axis, keepdims=True)


def _rsqrt_floor(x: Tensor) -> Tensor:
    return jax.lax.rsqrt(jnp.maximum(x, 1e-9))

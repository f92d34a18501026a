"""Units of steps: the size that a tensor's steps are measured in, from where the tensor starts."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .per_tensor import Tensors, overall_mean_square
from .sizes import mean_square, means, sqrt

OTHERS_SHARE, MOST_FROM_OTHERS = 0.3, 10.0
"""A tensor's unit includes this share of the mean square of all parameters, up to this many times its own."""
FROM_ZERO = 1.6
"""Unit of a tensor that starts at zero, relative to the size inferred from its first gradient."""
FEW_TENSORS, NARROW = 8, 32.0
"""The number of tensors, and the inputs of a matrix, up to which a network counts as small."""
TINY = 1e-18
"""Sizes and gradients below this count as zero; its square is still a nonzero float32."""


def initial_units(tensors: Tensors) -> Float[Array, " tensors"]:
    """Return the unit of each tensor by its size; 0 for tensors that start at zero."""
    own = tensors.gather(tensors.map(lambda layout, param: mean_square(param), tensors.params), 1)[:, 0]
    others = jnp.minimum(overall_mean_square(own, tensors.sizes), MOST_FROM_OTHERS * own)
    return jnp.sqrt(own + OTHERS_SHARE * others)


def log_largeness(tensors: Tensors) -> Float[np.ndarray, "2"]:
    """Return how large a network is: log(n / 8) and log(w / 32), at least 0.

    n is the number of tensors, and w the number of inputs of its matrices, by the geometric mean.
    """
    fans = tensors.fan_ins
    matrices = fans[fans > 1]
    width = np.exp(np.mean(np.log(matrices))) if matrices.size else NARROW
    return np.log(np.maximum([len(tensors) / FEW_TENSORS, width / NARROW], 1)).astype(np.float32)


def known_units(units: Float[Array, " tensors"], tensors: Tensors) -> Float[Array, " tensors"]:
    """Return the units, and for tensors without one, the unit that the gradients tell; 0 without a gradient.

    Args:
        units: those of `initial_units`, or of the last call.
        tensors: parameters with gradients.
    """
    return jnp.where(units > 0, units, FROM_ZERO * _sizes_from_gradients(tensors))


def _sizes_from_gradients(tensors: Tensors) -> Float[Array, " tensors"]:
    """Return the size at which each tensor would affect the loss as much as the others do.

    To first order, a tensor's effect on the loss is its size times its gradient's. The result is at most the
    size of all parameters, which also replaces it if the others have no gradient. For a tensor without a
    gradient it is 0.
    """
    squares = tensors.gather(
        tensors.map(
            lambda layout, param, grad: jnp.stack(means([jnp.square(param), jnp.square(grad)])),
            tensors.params,
            tensors.grads,
        ),
        2,
    )
    size, slope = squares[:, 0], squares[:, 1]
    number = jnp.maximum(jnp.sum((size > 0).astype(jnp.float32)), 1.0)
    products = sqrt(jnp.sum(size * slope) / number)
    overall = sqrt(overall_mean_square(size, tensors.sizes))
    slope = sqrt(slope)
    told = jnp.where(products > TINY, jnp.minimum(products / slope, overall), overall)
    return jnp.where(slope > TINY, told, 0.0)

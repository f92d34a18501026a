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


def share_of_a_large_network(tensors: Tensors) -> np.float32:
    """Return the factor of all steps, in units, by the size of the network: 1 for small ones.

    It is (8 / n)^(1/2) (32 / w)^(1/4) for n tensors whose matrices have w inputs, by the geometric mean; n is
    at least 8, and w at least 32. A network moves by the sum of what its tensors do, and an entry of a
    product by the sum over its inputs, so steps that suit a small network are too large for it. The exponents
    were fitted to transformers of 16 to 52 tensors and widths of 32 to 128 (docs/meta-training-log.md).
    """
    fans = tensors.fan_ins
    matrices = fans[fans > 1]
    width = np.exp(np.mean(np.log(matrices))) if matrices.size else NARROW
    return np.float32(
        (FEW_TENSORS / max(len(tensors), FEW_TENSORS)) ** 0.5 * (NARROW / max(width, NARROW)) ** 0.25
    )


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

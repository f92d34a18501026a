"""Approximation of the orthogonal matrix nearest to a tensor: Muon's direction."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .layout import Layout
from .placement import divided_like, gathered
from .sizes import rms, sqrt

Tensor = Float[Array, "..."]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic whose iterates map (0, 1] to about 1 fastest (Jordan et al. 2024)."""


def orthogonalise(tensor: Tensor, layout: Layout, iterations: int = 5) -> Tensor:
    """Bring all singular values of a matrix near 1, and keep its singular vectors.

    The result does not depend on the scale of the tensor; for a zero tensor it is zero.

    Args:
        tensor: a matrix by its layout.
        layout: assigns every axis to inputs or outputs.
        iterations: number of Newton-Schulz iterations; after five, singular values between 0.002 and 1 times
            the Frobenius norm are mapped to values between 0.3 and 1.3.

    References: Jordan et al. 2024, Muon (https://kellerjordan.github.io/posts/muon/).
    """
    order = (*layout.inputs, *layout.outputs)
    moved = jnp.transpose(gathered(tensor), order)
    rows = math.prod(tensor.shape[axis] for axis in layout.inputs)
    x = moved.reshape(rows, -1)
    largest = jnp.max(jnp.abs(x))
    x = x / jnp.where(largest > 0, largest, 1.0)
    x = newton_schulz(x / sqrt(jnp.sum(jnp.square(x))), iterations)
    back = [order.index(axis) for axis in range(tensor.ndim)]
    return divided_like(jnp.transpose(x.reshape(moved.shape), back), tensor)


def partly_orthogonal(
    adam: Tensor, ahead: Tensor, share: Float[Array, ""], layout: Layout
) -> Float[Array, "..."]:
    """Return a matrix's step: a share of Muon's direction with the size of Adam's step, and the rest Adam's.

    Args:
        adam: Adam's step.
        ahead: what is made orthogonal: a bias-corrected average of the gradient.
        share: of Muon's direction, from 0 to 1.
        layout: assigns every axis to inputs or outputs.
    """
    orthogonal = orthogonalise(ahead, layout)
    size = jnp.minimum(rms(adam), 1.0)
    return share * size * orthogonal / (rms(orthogonal) + 1e-8) + (1 - share) * adam


def newton_schulz(matrix: Float[Array, "rows cols"], iterations: int = 5) -> Float[Array, "rows cols"]:
    """Carry the singular values of a matrix whose Frobenius norm is at most 1 towards 1."""
    tall = matrix.shape[0] > matrix.shape[1]
    a, b, c = _COEFFICIENTS

    def iterate(x: Array, _: None) -> tuple[Array, None]:
        gram = x @ x.T
        return a * x + (b * gram + c * gram @ gram) @ x, None

    # A loop, because unrolled it takes longer to compile and no less time to run. Iterating on the short
    # side's gram matrix alone would halve the operations for a matrix of 1 x 4, but loses three digits.
    x, _ = jax.lax.scan(iterate, matrix.T if tall else matrix, None, length=iterations)
    return x.T if tall else x

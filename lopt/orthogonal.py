"""The nearest orthogonal matrix to a tensor, approximately: Muon's direction."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .per_tensor import sqrt

Tensor = Float[Array, "..."]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iterates carry (0, 1] to about 1 fastest (Jordan et al. 2024)."""


def is_matrix(tensor: Tensor) -> bool:
    """Tell whether a tensor, all axes but the last taken as one, has two rows and two columns at least."""
    return tensor.ndim >= 2 and min(tensor.size // max(tensor.shape[-1], 1), tensor.shape[-1]) > 1


def orthogonalise(tensor: Tensor, iterations: int = 5) -> Tensor:
    """Bring all singular values of a tensor near 1, and keep its singular vectors.

    All axes but the last are taken as one, as flax lays out kernels. The result does not depend on the
    tensor's size; of zeros it is zero.

    Args:
        tensor: of rank 2 or more.
        iterations: of Newton and Schulz's method; after five, singular values between 0.002 and 1 times the
            Frobenius norm lie between 0.3 and 1.3.

    References: Jordan et al. 2024, Muon (https://kellerjordan.github.io/posts/muon/).
    """
    matrix = tensor.reshape(-1, tensor.shape[-1])
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    largest = jnp.max(jnp.abs(x))
    x = x / jnp.where(largest > 0, largest, 1.0)
    x = x / sqrt(jnp.sum(jnp.square(x)))
    a, b, c = _COEFFICIENTS

    def iterate(x: Array, _: None) -> tuple[Array, None]:
        gram = x @ x.T
        return a * x + (b * gram + c * gram @ gram) @ x, None

    # A loop, since five times the products take longer to compile, and no less to run.
    x, _ = jax.lax.scan(iterate, x, None, length=iterations)
    return (x.T if tall else x).reshape(tensor.shape)

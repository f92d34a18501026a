"""A few numbers about a tensor, for the LSTM that looks after it."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .accumulators import Moments
from .sizes import means, sqrt, sums

Tensor = Float[Array, "..."]

_RANKS = 5
_AXES = 4
NUM_MOMENT_SUMMARIES = 1 + _RANKS + 3 + 3
NUM_TENSOR_SUMMARIES = 12 + _AXES


def moment_summary(param: Tensor, moments: Moments) -> Float[Array, "12"]:
    """Return size and variances of a tensor's moments relative to its parameters, and its rank.

    They are half logarithms of the mean of g^2's average, and of variances, between which five numbers stand
    that are 1 at the number of axes longer than one, and else 0.

    References: Metz et al. 2022 (arXiv 2211.09760).
    """
    *mean_momentum, mean_second, size = means([*moments.momentum, moments.second, jnp.square(param)])
    unit = jax.lax.rsqrt(jnp.maximum(1e-9, size))
    distances = [m - mean for m, mean in zip(moments.momentum, mean_momentum, strict=True)]
    # The variance of g^2's average is around the mean of g's: the original has it so.
    distances += [moments.second - mean for mean in mean_momentum]
    variances = means([jnp.square(distance * unit) for distance in distances])
    rank = sum(axis > 1 for axis in param.shape)
    kind = jnp.asarray([float(rank == n) for n in range(_RANKS)], jnp.float32)
    logs = _clipped_log(10 * jnp.concatenate([(mean_second * unit)[None], variances])) * 0.5
    return jnp.concatenate([logs[:1], kind, logs[1:]])


def tensor_summary(
    grad: Tensor, param: Tensor, first: Sequence[Tensor], second: Sequence[Tensor]
) -> Float[Array, "16"]:
    """Return sizes and signs of a tensor's gradient, parameters and averages, and its shape.

    In this order: log of the gradient's norm; 1 for a scalar, else -1; log and sign of the mean of g's
    averages, of g^2's, and of the parameters; log of the parameters' norm; logs of the first four axes;
    logs of the variances of g's averages, of g^2's, and of the parameters.

    References: Metz et al. 2020 (arXiv 2009.11243).

    Args:
        grad: the gradient.
        param: the parameters.
        first: averages of g at several decays, which count as one sample.
        second: averages of g^2.
    """
    samples = [first, second, [param]]
    mean = jnp.stack([jnp.mean(means(sample)) for sample in samples])
    variance = jnp.stack(
        [
            jnp.mean(means([jnp.square(x - m) for x in sample]))
            for sample, m in zip(samples, mean, strict=True)
        ]
    )
    norms = sqrt(sums((jnp.square(grad), jnp.square(param))))
    axes = (*param.shape, *[1] * _AXES)[:_AXES]
    logs, signs = _clipped_log(mean), jnp.sign(mean)
    return jnp.concatenate(
        [
            _clipped_log(norms[:1]),
            jnp.full(1, 1.0 if param.ndim == 0 else -1.0, jnp.float32),
            jnp.stack([logs, signs], axis=1).reshape(-1),
            _clipped_log(norms[1:]),
            jnp.asarray(np.log(np.asarray(axes, np.float32)) - 1, jnp.float32),
            _clipped_log(variance),
        ]
    )


def _clipped_log(x: Array) -> Array:
    return jnp.clip(jnp.log(1e-8 + jnp.abs(x)), -5, 5)

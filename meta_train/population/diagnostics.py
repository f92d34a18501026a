"""Diagnostics: how much of the gradient is signal, and how its variance grows with age.

They are computed from a few numbers per particle and the mean gradient, so they cost almost nothing and are
always on.
"""

from __future__ import annotations

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..dynamics import Theta
from .tally import Metrics, Moments, Tally


def moments(gradient: Theta, age: Float[Array, ""]) -> Moments:
    """Return the moments of one particle that `diagnose` needs.

    Args:
        gradient: the particle's estimate, as it enters the average.
        age: inner steps of its episode so far.
    """
    square = optax.tree.norm(gradient, squared=True)
    age = age.astype(square.dtype)
    return Moments(age, square, age * age, age * square)


def agreement(gradient: Theta, square: Float[Array, ""], particles: int) -> Float[Array, ""]:
    """Return the mean inner product of the estimates of two different particles.

    It is an unbiased estimate of the squared norm of the expected gradient, without the contribution of
    noise.

    Args:
        gradient: the mean of the particles' estimates.
        square: the mean of their squared norms.
        particles: size of the population; for 1 the result is NaN.
    """
    if particles == 1:
        return jnp.full((), jnp.nan)
    total = particles * optax.tree.norm(gradient, squared=True)
    return (total - square) / (particles - 1)


def diagnose(tally: Tally, particles: int) -> Metrics:
    """Convert a tally, a mean over some meta-steps, to a run's metrics.

    Args:
        tally: the tally of the whole population.
        particles: the size of the population.

    Returns:
        The shown numbers, the means of the ratios, `age`, and
          * `particle_variance`: trace of the covariance of one particle's estimate;
          * `signal_to_noise`: |expected gradient|^2 over the variance of the population's mean, both
            estimated without bias, so it may be below 0 if there is little signal; in a mixture, differences
            between the tasks' expected gradients count as variance, so it is too low;
          * `particle_cosine`: inner product of two particles' estimates over their mean square: the cosine
            between particles, weighted by their norms;
          * `variance_growth`: elasticity of an estimate's mean square with the age of its episode, by least
            squares: 0 if the mean square does not depend on age (NRES on average), 1 if it is proportional to
                age (PES on independent windows). NaN if all ages are equal.
    """
    (age, square, age_square, age_times_square), agreeing = tally.moments, tally.agreement
    variance = square - agreeing
    spread = age_square - age**2
    slope = (age_times_square - age * square) / spread
    return tally.shown | {
        **{name: ratio.mean for name, ratio in tally.ratios.items()},
        "age": age,
        "particle_variance": variance,
        "signal_to_noise": particles * agreeing / variance,
        "particle_cosine": agreeing / square,
        # A relative spread below a millionth is rounding.
        "variance_growth": jnp.where(spread > 1e-6 * age**2, slope * age / square, jnp.nan),
    }

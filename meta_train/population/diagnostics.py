"""What a researcher watches: how much of the gradient is signal, and how its variance grows with age.

All of it comes from a few numbers per particle and one vector that is there anyway, the mean gradient, so it
costs next to nothing and is always on.
"""

from __future__ import annotations

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..dynamics import Theta
from .tally import Metrics, Moments, Tally


def moments(gradient: Theta, age: Float[Array, ""]) -> Moments:
    """Return what `diagnose` needs of one particle.

    Args:
        gradient: the particle's estimate, as it is averaged.
        age: inner steps of its episode so far.
    """
    square = optax.tree.norm(gradient, squared=True)
    age = age.astype(square.dtype)
    return Moments(age, square, age * age, age * square)


def agreement(gradient: Theta, square: Float[Array, ""], particles: int) -> Float[Array, ""]:
    """Return the mean inner product of two different particles' estimates.

    It is an unbiased estimate of the squared norm of the expected gradient, without the noise's share.

    Args:
        gradient: the mean of the particles' estimates.
        square: the mean of their squared norms.
        particles: size of the population; NaN is returned for one.
    """
    if particles == 1:
        return jnp.full((), jnp.nan)
    total = particles * optax.tree.norm(gradient, squared=True)
    return (total - square) / (particles - 1)


def diagnose(tally: Tally, particles: int) -> Metrics:
    """Turn a tally, a mean over some meta-steps, into a run's metrics.

    Args:
        tally: of the whole population.
        particles: its size.

    Returns:
        What is shown as it is, the means of the ratios, `age`, and
          * `particle_variance`: trace of the covariance of one particle's estimate;
          * `signal_to_noise`: |expected gradient|^2 over the variance of the population's mean, both
            estimated without bias, so that it may come out below 0 where there is next to no signal; in a
            mixture what sets the tasks' expected gradients apart counts as variance, so that it is too low;
          * `particle_cosine`: inner product of two particles' estimates over their mean square: the cosine
            between particles, weighted by their norms;
          * `variance_growth`: elasticity of an estimate's mean square with the age of its episode, by least
            squares: 0 where it does not depend on it (NRES on average), 1 where it is proportional to it (PES
            on windows that have nothing to do with one another). NaN where all ages are the same.
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
        # Below a millionth it is rounding.
        "variance_growth": jnp.where(spread > 1e-6 * age**2, slope * age / square, jnp.nan),
    }

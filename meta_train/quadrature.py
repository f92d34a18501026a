"""Exact expectations of estimates, by quadrature instead of sampling."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key

from lopt import UsageError

from .dynamics import Dynamics, Theta
from .estimators import Perturbing

_MOST_EPISODES = 2**18
_AT_ONCE = 2**12


def expected_gradients(
    estimator: Perturbing,
    dynamics: Dynamics,
    theta: Theta,
    key: Key[Array, ""],
    nodes: int = 7,
    meta_step: int = 0,
    moving: bool = False,
) -> Theta:
    """Compute the expectation of each estimate of an episode over the estimator's noise, without sampling.

    The Gaussian integral over an episode's draws becomes a sum over a product Gauss-Hermite rule: an episode
    is run at every tuple of nodes, and each window's estimates are averaged with the rule's weights. So an
    estimator of the evolution-strategies family can be checked up to rounding: on quadratic losses with only
    2 nodes, on smooth ones with an error that falls exponentially in the number of nodes. All other
    randomness is fixed by `key`, and theta is fixed, too, unless it is `moving`.

    This takes nodes^(meta-parameters x draws) episodes, so it is for a handful of both. Call it under
    `jax.enable_x64(True)`, with a float64 theta, for more than six digits.

    Args:
        estimator: an estimator that perturbs theta; its horizon must be constant, and its `phase` is ignored.
        dynamics: the unrolled graph.
        theta: the meta-parameters.
        key: the episode's PRNG key.
        nodes: size of the rule per dimension, which is exact for polynomials of degree 2 nodes - 1.
        meta_step: meta-steps done before the episode's first window, for a sigma with a schedule; each window
            is a meta-step.
        moving: whether theta has a value for each window, as the first axis of each leaf. In training, an
            online estimator sees a different theta in each window, and its estimates depend on all of them
            (hysteresis).

    Returns:
        The expected estimates, shaped like theta with the episode's windows as the first axis of each leaf.

    Raises:
        UsageError: for an estimator that does not perturb theta by Gaussian noise, for a horizon that is not
            constant, for a moving theta with a number of values other than the number of windows, or for too
            many episodes.

    References: Golub and Welsch 1969, Calculation of Gauss quadrature rules; for the expectations: Vicol,
        Metz, Sohl-Dickstein 2021 (arXiv 2112.13835).
    """
    if not isinstance(estimator, Perturbing) or type(estimator).draw is not Perturbing.draw:
        raise UsageError(
            f"{type(estimator).__name__} does not perturb theta by Gaussian noise, whose expectation this "
            "is: average over samples instead"
        )
    shortest, longest = estimator.horizon.bounds()
    if shortest != longest:
        raise UsageError(
            f"an expectation is over episodes of one length, not of {shortest} to {longest} inner steps: "
            f"give the estimator ConstantHorizon({longest})"
        )
    windows = longest // estimator.unrolled
    drawn = [w for w in range(windows) if w == 0 or bool(estimator.redraws(jnp.asarray(w)))]
    if moving and any(x.shape[:1] != (windows,) for x in jax.tree.leaves(theta)):
        raise UsageError(f"a moving theta has {windows} values, the first axis of each leaf: one a window")
    thetas = theta if moving else jax.tree.map(lambda x: jnp.repeat(x[None], windows, axis=0), theta)
    size = ravel_pytree(thetas)[0].size // windows
    dimensions = size * len(drawn)
    if nodes**dimensions > _MOST_EPISODES:
        raise UsageError(
            f"{nodes} nodes for each of {size} meta-parameters in each of {len(drawn)} draws take "
            f"{nodes**dimensions} episodes, more than {_MOST_EPISODES}: take fewer nodes (2 are enough for "
            "quadratic losses), fewer windows, or a smaller theta"
        )
    points, weights = _product_rule(nodes, dimensions)
    meta_steps = meta_step + np.arange(windows, dtype=np.int32)
    noise = np.zeros((len(points), windows, size))
    sigmas = np.array([float(estimator.sigma_at(jnp.asarray(now))) for now in meta_steps])
    noise[:, drawn] = sigmas[drawn, None] * points.reshape(-1, len(drawn), size)
    estimator = dataclasses.replace(estimator, phase="lockstep")
    return _average(
        estimator, dynamics, thetas, jnp.asarray(meta_steps), key, jnp.asarray(noise), jnp.asarray(weights)
    )


@functools.partial(jax.jit, static_argnames="estimator")
def _average(
    estimator: Perturbing,
    dynamics: Dynamics,
    thetas: Theta,
    meta_steps: Int[Array, " windows"],
    key: Key[Array, ""],
    noise: Float[Array, "points windows theta"],
    weights: Float[Array, " points"],
) -> Theta:
    first = jax.tree.map(lambda x: x[0], thetas)
    flat, unravel = ravel_pytree(first)

    def episode(noise: Float[Array, "windows theta"]) -> Theta:
        def window(state, now):
            theta, meta_step, eps, window_key = now
            eps = unravel(eps.astype(flat.dtype))
            state, estimate = estimator.step_with(dynamics, theta, state, eps, window_key, meta_step)
            return state, estimate.gradient

        keys = jax.random.split(key, len(noise))
        windows = (thetas, meta_steps, noise, keys)
        return jax.lax.scan(window, estimator.init(dynamics, first), windows)[1]

    gradients = jax.lax.map(episode, noise, batch_size=_AT_ONCE)
    return jax.tree.map(lambda g: jnp.tensordot(weights, g, axes=1), gradients)


def _product_rule(nodes: int, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points [n, dimensions] and weights [n] whose weighted sums are standard normal expectations."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(*[points] * dimensions, indexing="ij"), axis=-1)
    products = functools.reduce(np.multiply.outer, [weights] * dimensions)
    return grid.reshape(-1, dimensions), products.reshape(-1)

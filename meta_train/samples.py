"""Samples of estimates and the exact gradients to compare them with, for tests of estimators."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .dynamics import Dynamics, Theta
from .estimators import Estimator


@functools.partial(jax.jit, static_argnames=("estimator", "windows"))
def sample_estimates(
    estimator: Estimator, dynamics: Dynamics, theta: Theta, keys: Key[Array, " particles"], windows: int
) -> tuple[Theta, Any]:
    """Run new particles with fixed theta, at meta-step 0.

    Args:
        estimator: the estimator to sample.
        dynamics: the unrolled graph.
        theta: the meta-parameters.
        keys: a PRNG key for each particle.
        windows: the number of steps of the estimator to run.

    Returns:
        The estimates, shaped like theta with the axes particles and windows first, and the particles' states
        after each window, with the same axes.
    """

    def particle(key: Key[Array, ""]) -> tuple[Theta, Any]:
        def window(state: Any, key: Key[Array, ""]) -> tuple[Any, tuple[Theta, Any]]:
            state, estimate = estimator.step(dynamics, theta, state, key, jnp.zeros((), jnp.int32))
            return state, (estimate.gradient, state)

        return jax.lax.scan(window, estimator.init(dynamics, theta), jax.random.split(key, windows))[1]

    return jax.vmap(particle)(keys)


def window_losses(
    dynamics: Dynamics, thetas: Sequence[Theta], window: int, truncated: bool = False
) -> Float[Array, " windows"]:
    """Return the sum of losses of each window of an episode, computed in a plain loop.

    Args:
        dynamics: the unrolled graph, which must not use its keys.
        thetas: the meta-parameters of each window.
        window: inner steps per window.
        truncated: whether gradients stop at the start of each window.
    """
    key = jax.random.key(0)
    state, sums = dynamics.init(thetas[0], jnp.asarray(window * len(thetas)), key), []
    for index, theta in enumerate(thetas):
        if truncated and index > 0:
            state = jax.lax.stop_gradient(state)
        total = jnp.zeros(())
        for _ in range(window):
            state, loss = dynamics.step(theta, state, key)
            total = total + loss
        sums.append(total)
    return jnp.stack(sums)


@functools.partial(jax.jit, static_argnames=("windows", "window", "truncated"))
def window_gradients(
    dynamics: Dynamics, theta: Theta, windows: int, window: int, truncated: bool = False
) -> Theta:
    """Return the gradient of each window's sum of losses: the correct estimates of an episode.

    It is backpropagated through the plain loop of `window_losses`, so it shares no code with estimators.

    Args:
        dynamics: a differentiable graph, which must not use its keys.
        theta: the meta-parameters.
        windows: the number of windows in the episode.
        window: inner steps per window.
        truncated: whether gradients stop at the start of each window, as in truncated estimators.

    Returns:
        The gradients, shaped like theta with the windows as the first axis of each leaf.
    """
    return jax.jacrev(lambda theta: window_losses(dynamics, [theta] * windows, window, truncated))(theta)


def z_score(samples: Any, expected: Any) -> np.ndarray:
    """Return the deviation of the mean of samples from its expected value, in standard errors.

    Args:
        samples: an array with the samples as its first axis.
        expected: the expected values, an array without that axis.

    Returns:
        Float64, shaped like `expected`: in magnitude below about 4 everywhere if the expected values are
        right.
    """
    samples = np.asarray(samples, np.float64)
    return (samples.mean(0) - np.asarray(expected)) / (samples.std(0, ddof=1) / np.sqrt(len(samples)))

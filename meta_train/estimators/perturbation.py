"""The shared parts of estimators that perturb theta: Gaussian noise, its scale, and antithetic pairs."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, blank
from .base import Estimate, Estimator


class PairState(struct.PyTreeNode):
    """An antithetic particle between two steps."""

    pair: Episode
    """Two stacked episodes: with theta + noise, and with theta - noise."""
    noise: Theta
    """The current draw, of scale sigma; changes when it is redrawn."""
    score: Theta
    """Sum of noise / sigma^2 over the draws of the episode that count; changes when noise is redrawn."""
    episodes: Int[Array, ""]
    """Episodes started."""

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the current episode; the same in both members."""
        return self.pair.age[0]

    @property
    def over(self) -> Bool[Array, ""]:
        """Whether the current episode is over."""
        return self.pair.age[0] >= self.pair.ends[0]


@dataclasses.dataclass(frozen=True)
class Perturbing(Estimator):
    """An estimator that runs antithetic pairs with Gaussian perturbations of theta.

    Attributes:
        sigma: standard deviation of the perturbations.
        final_sigma: final value of sigma, which changes geometrically; None for a constant sigma. Each draw
            is weighted by the sigma that it was drawn with, also within an episode.
        sigma_meta_steps: number of meta-steps until `final_sigma`.

    Raises:
        UsageError: for a sigma that is not positive, and as in `Estimator`.
    """

    sigma: float = 0.01
    final_sigma: float | None = None
    sigma_meta_steps: int = 1000

    def __post_init__(self) -> None:
        Estimator.__post_init__(self)
        for name in ("sigma", "final_sigma"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be positive, not {value}: it is a standard deviation")
        if self.sigma_meta_steps < 1:
            raise UsageError(f"sigma_meta_steps must be at least 1, not {self.sigma_meta_steps}")

    @abc.abstractmethod
    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Return whether noise is redrawn before this window of an episode; True at windows_done = 0."""

    @abc.abstractmethod
    def step_with(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: Any,
        fresh_noise: Theta,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[Any, Estimate]:
        """Run one step with given noise, which is used if this window redraws it.

        `step` calls this with Gaussian noise; quadrature calls it with chosen noise, to compute exact
        expectations.
        """

    def step(
        self, dynamics: Dynamics, theta: Theta, state: Any, key: Key[Array, ""], meta_step: Int[Array, ""]
    ) -> tuple[Any, Estimate]:
        """Draw noise, and run one step with it."""
        noise_key, key = jax.random.split(key)
        noise = self.draw(noise_key, theta, meta_step)
        return self.step_with(dynamics, theta, state, noise, key, meta_step)

    def draw(self, key: Key[Array, ""], theta: Theta, meta_step: Int[Array, ""]) -> Theta:
        """Draw a perturbation of theta: independent Gaussians, unless a subclass overrides it.

        The estimate is unbiased on quadratics if the noise has mean zero and covariance sigma^2 I.
        """
        return draw_noise(key, theta, self.sigma_at(meta_step))

    def sigma_at(self, meta_step: Int[Array, ""]) -> float | Float[Array, ""]:
        """Return the standard deviation of the noise drawn at a meta-step."""
        if self.final_sigma is None:
            return self.sigma
        progress = jnp.minimum(meta_step / self.sigma_meta_steps, 1.0)
        return self.sigma * (self.final_sigma / self.sigma) ** progress


def blank_pair(dynamics: Dynamics, theta: Theta) -> PairState:
    """Return a particle of zeros with finished episodes of no steps."""
    nothing = jax.tree.map(jnp.zeros_like, theta)
    pair = jax.tree.map(lambda x: jnp.stack([x, x]), blank(dynamics, theta))
    return PairState(pair, nothing, nothing, jnp.zeros((), jnp.int32))


def antithetic(theta: Theta, noise: Theta) -> Theta:
    """Return theta + noise and theta - noise, stacked."""
    return jax.tree.map(lambda t, e: jnp.stack([t + e, t - e]), theta, noise)


def draw_noise(key: Key[Array, ""], theta: Theta, sigma: float | Float[Array, ""]) -> Theta:
    """Draw Gaussian noise of standard deviation sigma, shaped like theta."""
    flat, unravel = ravel_pytree(theta)
    # One draw for all leaves: each separate draw takes most of a second to compile.
    return unravel(jnp.asarray(sigma, flat.dtype) * jax.random.normal(key, flat.shape, flat.dtype))


def select(condition: Bool[Array, ""], x: Any, y: Any) -> Any:
    """Choose between two trees of the same structure."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), x, y)

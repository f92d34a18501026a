"""Guided evolution strategies: more noise along surrogate gradients."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from .base import Estimate, Estimator
from .nres import NRES
from .perturbation import PairState, blank_pair
from .registry import register


class GuidedState(struct.PyTreeNode):
    """A particle, and the surrogate gradients that determine the covariance of its noise."""

    reused: PairState
    """The antithetic pair."""
    surrogates: Float[Array, "directions theta"]
    """The last surrogate gradients, newest first; changes every window."""

    @property
    def episodes(self) -> Int[Array, ""]:
        """Episodes started."""
        return self.reused.episodes

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the current episode."""
        return self.reused.age


@register("guided-es")
@dataclasses.dataclass(frozen=True)
class GuidedES(Estimator):
    """Draw noise partly in the span of recent surrogate gradients, once per episode.

    Surrogates are gradients backpropagated through single windows. With an orthonormal basis U of the last
    `directions` surrogates, the noise has covariance

        sigma^2 C,    C = alpha I + (1 - alpha) (P / directions) U U^T,

    with the trace of isotropic noise. An episode's estimates sum to noise (L+ - L-) / (2 sigma^2); with a
    window as long as the horizon this is the published estimator with beta = P and sigma sqrt(P) for its
    sigma.

    Biased: its expectation on quadratics is C grad, which always has a positive product with the gradient.
        `corrected` multiplies the difference by C^-1 noise, the true score, which is unbiased for the
        smoothed objective and has more variance. Only the surrogates need a differentiable graph. ||
    Variance: small if the gradient lies in the span, which the surrogates' bias may prevent. Memory: two
        states, 2 + directions thetas, one window's backpropagation. Cost: 3 K F + K B for a step of K.

    Attributes:
        sigma: standard deviation of the noise in a coordinate, averaged over coordinates.
        directions: number of surrogates that span the subspace.
        alpha: isotropic share of the noise's variance, in (0, 1]; 1 is NRES.
        corrected: whether to correct for C.

    Raises:
        UsageError: for numbers out of range, and as in `Estimator`.

    References: Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019, Guided evolutionary strategies
        (arXiv 1806.10230).
    """

    sigma: float = 0.01
    directions: int = 1
    alpha: float = 0.5
    corrected: bool = False

    def __post_init__(self) -> None:
        Estimator.__post_init__(self)
        if not self.sigma > 0:
            raise UsageError(f"sigma must be positive, not {self.sigma}: it is a standard deviation")
        if self.directions < 1:
            raise UsageError(f"directions must be at least 1, not {self.directions}")
        if not 0 < self.alpha <= 1:
            raise UsageError(f"alpha is a share of the variance in (0, 1], not {self.alpha}")

    @property
    def steps_per_window(self) -> int:
        """The steps of both members of the pair, and of the surrogate's run."""
        return 3 * self.unrolled

    def init(self, dynamics: Dynamics, theta: Theta) -> GuidedState:
        """Return a particle of zeros that has seen no surrogate yet."""
        flat, _ = ravel_pytree(theta)
        if self.directions > flat.size:
            raise UsageError(
                f"guided-es spans {self.directions} directions, but theta has {flat.size} numbers: take at "
                f"most {flat.size}"
            )
        return GuidedState(blank_pair(dynamics, theta), jnp.zeros((self.directions, flat.size), flat.dtype))

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: GuidedState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[GuidedState, Estimate]:
        """Run the pair with guided noise, and store this window's surrogate gradient for later episodes."""
        noise_key, key = jax.random.split(key)
        noise, score = self.draw(noise_key, theta, state.surrogates)
        core = NRES(self.horizon, self.window, self.objective, self.phase, sigma=self.sigma)
        run = core.run_pair(dynamics, theta, state.reused, noise, key, meta_step, fresh_score=score)
        gradient = jax.tree.map(lambda s: s * run.difference, run.state.score)

        first = jax.tree.map(lambda x: x[0], state.reused.pair)
        perturbed = jax.tree.map(jnp.add, theta, run.state.noise)
        beside = lambda theta: core.run_beside(dynamics, theta, first, run)[0]  # noqa: E731
        surrogate, _ = ravel_pytree(jax.grad(beside)(perturbed))
        usable = jnp.all(jnp.isfinite(surrogate))
        rolled = jnp.concatenate([surrogate[None], state.surrogates[:-1]])
        surrogates = jnp.where(usable, rolled, state.surrogates)
        estimate = self.report(gradient, run.state.pair, run.window, meta_step)
        return GuidedState(run.state, surrogates), estimate

    def draw(
        self, key: Key[Array, ""], theta: Theta, surrogates: Float[Array, "directions theta"]
    ) -> tuple[Theta, Theta]:
        """Draw noise of covariance sigma^2 C, and its factor of the loss difference.

        Args:
            key: a typed PRNG key.
            theta: the meta-parameters, for their shapes.
            surrogates: rows that span the subspace; rows of zeros are replaced by arbitrary directions.

        Returns:
            The noise, and noise / sigma^2, or C^-1 noise / sigma^2 if `corrected`; both shaped like theta.
        """
        flat, unravel = ravel_pytree(theta)
        size, k = flat.size, self.directions
        scale = jnp.max(jnp.abs(surrogates), axis=1, keepdims=True)
        basis = jnp.linalg.qr((surrogates / jnp.where(scale > 0, scale, 1)).T)[0]
        normal = jax.random.normal(key, (size + k,), flat.dtype)
        inside = (1 - self.alpha) * size / k
        noise = self.sigma * (self.alpha**0.5 * normal[:size] + inside**0.5 * basis @ normal[size:])
        weights = noise / self.sigma**2
        if self.corrected:
            # C has the eigenvalue alpha + inside on the span of U, and alpha elsewhere.
            within = basis @ (basis.T @ weights)
            weights = within / (self.alpha + inside) + (weights - within) / self.alpha
        return unravel(noise), unravel(weights)

"""The core of randomised telescopes: an episode's gradient as a sum, of which a random part is computed."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, Window, blank, by_window, renew
from .backpropagation import SoloState
from .base import Estimate, Estimator

_CUT = 0x637574


@dataclasses.dataclass(frozen=True)
class Telescope(Estimator):
    """Weight the terms of an episode's gradient by a random cut, so that the mean is the whole gradient.

    The gradient of an episode is the telescoping sum of the changes by which it grows with the horizon, of
    which each term here is the gradient of the objective's increments in a range of windows. A term N is
    drawn from a distribution q, and the members weight the terms accordingly.

    Attributes:
        distribution: the distribution q of the drawn term n = 1, 2, ... of an episode: "geometric", ratio^n;
            "power", n^-exponent; "uniform". Normalised over the terms that the episode has.
        ratio: of the geometric distribution.
        exponent: of the power distribution.
        terms: what a term is: each of the "windows", or "doublings" of the horizon: the first window, the
            second, the third and fourth, the fifth to eighth and so on.
        rematerialise: as in BPTT.

    Raises:
        UsageError: for an unknown distribution or kind of terms, a ratio or an exponent that is not positive,
            and as in `Estimator`.
    """

    needs_derivatives: ClassVar[bool] = True
    whole_episodes: ClassVar[bool] = True

    distribution: Literal["geometric", "power", "uniform"] = "geometric"
    ratio: float = 0.5
    exponent: float = 2.0
    terms: Literal["windows", "doublings"] = "windows"
    rematerialise: bool = False

    def __post_init__(self) -> None:
        Estimator.__post_init__(self)
        if self.distribution not in ("geometric", "power", "uniform"):
            raise UsageError(f"distribution must be geometric, power or uniform, not {self.distribution!r}")
        if self.terms not in ("windows", "doublings"):
            raise UsageError(f"terms must be windows or doublings, not {self.terms!r}")
        for name in ("ratio", "exponent"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")

    @abc.abstractmethod
    def weights(self, drawn: Int[Array, ""], q: Float[Array, " terms"]) -> Float[Array, " terms"]:
        """Return the weight of each term if term `drawn` (from 0) was drawn, whose mean is 1.

        Args:
            drawn: the index of the drawn term.
            q: the probabilities of the terms; zero for those that the episode does not have.
        """

    @property
    def steps_per_window(self) -> int:
        """The steps of one episode; backward passes are not counted."""
        return self.unrolled

    @property
    def term_of_window(self) -> np.ndarray:
        """The index of the term that each window of the longest episode is part of; int32."""
        windows = np.arange(self.unrolled // self.window)
        if self.terms == "doublings":
            windows = np.ceil(np.log2(windows + 1))
        return windows.astype(np.int32)

    def probabilities(self, there: Bool[Array, " terms"]) -> Float[Array, " terms"]:
        """Return the probability of each term to be drawn.

        Args:
            there: which terms the episode has.
        """
        number = np.arange(1, len(there) + 1)
        logarithm = {
            "geometric": np.log(self.ratio) * number,
            "power": -self.exponent * np.log(number),
            "uniform": 0.0 * number,
        }[self.distribution]
        return jax.nn.softmax(jnp.where(there, jnp.asarray(logarithm, jnp.zeros(()).dtype), -jnp.inf))

    def init(self, dynamics: Dynamics, theta: Theta) -> SoloState:
        """Return a particle of zeros with a finished episode of no steps."""
        return SoloState.of(blank(dynamics, theta))

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: SoloState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[SoloState, Estimate]:
        """Run an episode, and differentiate the weighted sum of its terms."""
        drawn = self.draw_step(key, state.episodes == 0, meta_step)
        weights = self._draw_weights(key, drawn.length.ends)

        def weighted(theta: Theta) -> tuple[Array, tuple[Episode, Window]]:
            episode = renew(dynamics, theta, state.episode, drawn.length, drawn.start_key)
            shared = (dynamics, self.objective, theta, episode, self.window, self.unrolled)
            ended, got = by_window(*shared, drawn.advance_key, self.rematerialise)
            mean_loss = jnp.sum(got.loss) / (ended.age // self.window).astype(got.loss.dtype)
            total = jnp.sum(weights.astype(got.objective.dtype) * got.objective)
            return total, (ended, Window(jnp.sum(got.objective), mean_loss))

        gradient, (ended, window) = jax.grad(weighted, has_aux=True)(theta)
        return state.after(ended), self.report(gradient, ended, window, meta_step)

    def _draw_weights(self, key: Key[Array, ""], steps: Int[Array, ""]) -> Float[Array, " windows"]:
        """Draw a term of an episode of so many steps, and return the weight of each window."""
        term = self.term_of_window
        first = np.searchsorted(term, np.arange(term[-1] + 1))
        q = self.probabilities(jnp.asarray(first, jnp.int32) * self.window < steps)
        # A separate stream: split folds in 0, 1, 2, ..., which the episode's draws use.
        uniform = jax.random.uniform(jax.random.fold_in(key, _CUT), (), q.dtype)
        drawn = jnp.sum(jnp.cumsum(q) <= uniform, dtype=jnp.int32)
        # Rounding may leave the cumulated probabilities below 1.
        drawn = jnp.minimum(drawn, jnp.sum(q > 0, dtype=jnp.int32) - 1)
        return self.weights(drawn, q)[term]

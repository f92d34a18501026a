"""The core of the evolution-strategies family: one rule with a few switches.

A particle is an antithetic pair: two episodes under theta + noise and theta - noise that share every random
draw. After a window with objectives L+ and L- its estimate is

    score (L+ - L-) / 2,        score = sum of noise_i / sigma_i^2 over the draws i that count.

The members of the family differ in when noise is redrawn, which draws count, and what a step runs:

    member       redrawn                 draws that count      a step runs
    FullES       every episode           the only one          an episode
    TruncatedES  every window            the current one       a window     (biased: forgets earlier windows)
    PES          every window            all of the episode    a window
    GPES         every few windows       all of the episode    a window
    NRES         at an episode's start   the only one          a window

References: Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835); Li et al. 2023 (arXiv 2304.12180).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, Window, renew
from .base import Drawn, Estimate
from .perturbation import PairState, Perturbing, antithetic, blank_pair, select


class PairRun(NamedTuple):
    """The results of a step of a pair, from which the gradient is computed."""

    state: PairState
    """The particle after the step."""
    past: Theta
    """The score of the episode's earlier draws that count."""
    before: Float[Array, ""]
    """Half the difference of the members' objectives before the step; 0 at an episode's start."""
    after: Float[Array, ""]
    """The same after the step."""
    difference: Float[Array, ""]
    """Half the difference of the members' increments of the objective in the step."""
    window: Window
    """The step's results, stacked."""
    drawn: Drawn
    """The step's random draws."""


@dataclasses.dataclass(frozen=True)
class EvolutionStrategies(Perturbing):
    """Antithetic evolution strategies on windows of an unrolled graph.

    Attributes:
        loss_transform: transform of the pair's loss difference: "raw" keeps it; "sign" takes its sign times
            `loss_bound`, which is biased and independent of the loss's scale; "clip" bounds it by
            `loss_bound`, which is biased if it takes effect.
        loss_bound: see `loss_transform`; in units of the objective, for half the difference of the two
            members.
        credit: "causal" weights the window's increment of the objective with the draws until then; "total"
            gives the change of (score x objective so far), whose sum over an episode is the whole score times
            the whole objective. Both are unbiased; which has the smaller variance depends on the problem.
            "total" is the second form of telescoping sums for a final loss.

    Raises:
        UsageError: for an unknown transform or credit, a bound that is not positive, credit "total" if it is
            not defined, and as in `Perturbing`.
    """

    loss_transform: Literal["raw", "sign", "clip"] = "raw"
    loss_bound: float = 1.0
    credit: Literal["causal", "total"] = "causal"

    remembers: ClassVar[bool]
    """Whether all of an episode's draws count, or only the current one."""

    def __post_init__(self) -> None:
        Perturbing.__post_init__(self)
        if self.loss_transform not in ("raw", "sign", "clip"):
            raise UsageError(f"loss_transform must be raw, sign or clip, not {self.loss_transform!r}")
        if not self.loss_bound > 0:
            raise UsageError(f"loss_bound must be positive, not {self.loss_bound}")
        if self.credit not in ("causal", "total"):
            raise UsageError(f"credit must be causal or total, not {self.credit!r}")
        if self.credit == "total" and not (self.remembers and self.loss_transform == "raw"):
            raise UsageError(
                "credit 'total' sums the whole score times the whole objective: it needs an estimator that "
                "remembers its draws (pes, gpes, nres) and loss_transform 'raw'"
            )

    @property
    def steps_per_window(self) -> int:
        """The steps of both members of the pair."""
        return 2 * self.unrolled

    def init(self, dynamics: Dynamics, theta: Theta) -> PairState:
        """Return a particle of zeros with finished episodes of no steps."""
        return blank_pair(dynamics, theta)

    def step_with(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: PairState,
        fresh_noise: Theta,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[PairState, Estimate]:
        """Run the pair, and multiply its loss difference by the score."""
        run = self.run_pair(dynamics, theta, state, fresh_noise, key, meta_step)
        if self.credit == "total":
            # At an episode's start, the past score has been reset and `before` is 0.
            weigh = lambda score, past: score * run.after - past * run.before  # noqa: E731
            gradient = jax.tree.map(weigh, run.state.score, run.past)
        else:
            difference = self._transform(run.difference)
            gradient = jax.tree.map(lambda score: score * difference, run.state.score)
        return run.state, self.report(gradient, run.state.pair, run.window, meta_step)

    def run_pair(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: PairState,
        fresh_noise: Theta,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
        fresh_score: Theta | None = None,
    ) -> PairRun:
        """Run one step of both members of a pair, starting a new episode first if the last one is over.

        Args:
            dynamics: the unrolled graph.
            theta: the current meta-parameters.
            state: the particle.
            fresh_noise: the noise to use, if this window redraws it.
            key: PRNG key of this particle and window.
            meta_step: meta-steps done so far.
            fresh_score: the score of that noise; None for isotropic noise, whose score is noise / sigma^2.
        """
        if fresh_score is None:
            sigma = self.sigma_at(meta_step)
            fresh_score = jax.tree.map(lambda e: e / jnp.asarray(sigma**2, e.dtype), fresh_noise)
        drawn = self.draw_step(key, state.episodes == 0, meta_step)
        new = state.over
        windows_done = jnp.where(new, 0, state.age // self.window)
        redraw = new | self.redraws(windows_done)
        noise = select(redraw, fresh_noise, state.noise)
        forget = new | (redraw & (not self.remembers))
        past = jax.tree.map(lambda s: jnp.where(forget, 0, s), state.score)
        score = jax.tree.map(lambda p, s: jnp.where(redraw, p + s, p), past, fresh_score)

        def member(theta: Theta, episode: Episode) -> tuple[Episode, Window]:
            # Each member starts with its own theta: an initial state that depends on it is part of the graph.
            episode = renew(dynamics, theta, episode, drawn.length, drawn.start_key)
            return self.unroll(dynamics, theta, episode, drawn.advance_key)

        pair, window = jax.vmap(member)(antithetic(theta, noise), state.pair)
        return PairRun(
            state=PairState(pair, noise, score, state.episodes + new.astype(jnp.int32)),
            past=past,
            before=jnp.where(new, 0, _half_difference(state.pair.objective)),
            after=_half_difference(pair.objective),
            difference=_half_difference(window.objective),
            window=window,
            drawn=drawn,
        )

    def run_beside(
        self, dynamics: Dynamics, theta: Theta, episode: Episode, run: PairRun
    ) -> tuple[Float[Array, ""], Episode]:
        """Run the same step of another episode as of a pair, with the pair's horizon and random draws.

        Args:
            dynamics: the unrolled graph.
            theta: the theta of that episode; differentiable.
            episode: an episode of the pair's age before its step.
            run: the results of the pair's step.

        Returns:
            The increment of the episode's objective, and the episode after the step.
        """
        episode = renew(dynamics, theta, episode, run.drawn.length, run.drawn.start_key)
        episode, window = self.unroll(dynamics, theta, episode, run.drawn.advance_key)
        return window.objective, episode

    def _transform(self, difference: Float[Array, ""]) -> Float[Array, ""]:
        if self.loss_transform == "sign":
            return self.loss_bound * jnp.sign(difference)
        if self.loss_transform == "clip":
            return jnp.clip(difference, -self.loss_bound, self.loss_bound)
        return difference


def _half_difference(pair: Float[Array, " 2"]) -> Float[Array, ""]:
    return (pair[0] - pair[1]) / 2

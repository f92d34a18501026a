"""The core of the evolution-strategies family: one rule with a few switches.

A particle is an antithetic pair: two episodes under theta + noise and theta - noise that share every random
draw. After a window with objectives L+ and L- its estimate is

    score (L+ - L-) / 2,        score = sum of noise_i / sigma_i^2 over the draws i that count.

The family's members differ in when noise is redrawn, in which draws count, and in how far a step runs:

    member       redrawn                 draws that count      a step runs
    FullES       every episode           the only one          an episode
    TruncatedES  every window            the present one       a window     (biased: forgets earlier windows)
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
    """What a step of a pair gave, before any gradient is made of it."""

    state: PairState
    """The particle after the step."""
    past: Theta
    """The score of the episode's earlier draws that count."""
    before: Float[Array, ""]
    """Half the difference of the members' objectives before the step; 0 at an episode's start."""
    after: Float[Array, ""]
    """The same after the step."""
    difference: Float[Array, ""]
    """Half the difference of what the members' objectives gained in the step."""
    window: Window
    """What the step gave, stacked."""
    drawn: Drawn
    """What the step drew before it ran."""


@dataclasses.dataclass(frozen=True)
class EvolutionStrategies(Perturbing):
    """Antithetic evolution strategies on windows of an unrolled graph.

    Attributes:
        loss_transform: what is made of the pair's loss difference: "raw" leaves it; "sign" takes its sign
            times `loss_bound`, which is biased and does not feel the loss's scale; "clip" bounds it by
            `loss_bound`, which is biased where it bites.
        loss_bound: see there; in units of the objective, of half the difference of the two members.
        credit: "causal" weighs what a window adds to the objective with the draws until then; "total" gives
            the change of (score x objective so far), whose sum over an episode is the whole score times the
            whole objective. Both are unbiased; which has the smaller variance depends on the problem. It is
            the second form of telescoping sums for a final loss.

    Raises:
        UsageError: for an unknown transform or credit, a bound that is not positive, credit "total" where it
            is not defined, and as `Perturbing` does.
    """

    loss_transform: Literal["raw", "sign", "clip"] = "raw"
    loss_bound: float = 1.0
    credit: Literal["causal", "total"] = "causal"

    remembers: ClassVar[bool]
    """Whether all of an episode's draws count, or the present one alone."""

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
        """Both members of the pair."""
        return 2 * self.unrolled

    def init(self, dynamics: Dynamics, theta: Theta) -> PairState:
        """Return a particle of zeros whose episodes of no steps are over."""
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
        """Run the pair, and weigh its difference with the score."""
        run = self.run_pair(dynamics, theta, state, fresh_noise, key, meta_step)
        if self.credit == "total":
            # A past score of an episode that is over has been forgotten, and `before` is 0 then.
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
        """Run both members of a pair by one step, starting an episode first where the last one is over.

        Args:
            dynamics: the unrolled graph.
            theta: the present meta-parameters.
            state: the particle.
            fresh_noise: the noise to use, if this window redraws it.
            key: randomness of this particle and window.
            meta_step: meta-steps done so far.
            fresh_score: the score of that noise; None for that of isotropic noise, noise / sigma^2.
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
            # Each starts under its own theta: an initial state that depends on it is part of the graph.
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
        """Run another episode by the same step as a pair, with the pair's horizon and random draws.

        Args:
            dynamics: the unrolled graph.
            theta: the episode's own, and differentiable.
            episode: as old as the pair was before its step.
            run: what the pair's step gave.

        Returns:
            What the episode's objective gained, and the episode after the step.
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

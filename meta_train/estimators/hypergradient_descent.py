"""Hypergradients of single inner steps."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
from jaxtyping import Array, Float, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, State, Theta
from .backpropagation import Backpropagation, SoloState
from .base import Estimate, Estimator
from .registry import register
from .sparsity import leaf_pattern
from .truncated_bptt import TruncatedBPTT


class OneStep(Dynamics):
    """A graph whose gradients are cut before every step."""

    graph: Dynamics

    def init(self, theta: Theta, horizon: Int[Array, ""], key: Key[Array, ""]) -> State:
        """Start the graph."""
        return self.graph.init(theta, horizon, key)

    def step(self, theta: Theta, state: State, key: Key[Array, ""]) -> tuple[State, Float[Array, ""]]:
        """Advance the graph from a state that is held fixed."""
        return self.graph.step(theta, jax.lax.stop_gradient(state), key)

    @property
    def ceiling(self) -> float:
        """The ceiling of the graph."""
        return self.graph.ceiling


@register("hypergradient-descent")
@dataclasses.dataclass(frozen=True)
class HypergradientDescent(Estimator):
    """Differentiate each inner step's loss through this step alone, and sum over the window.

    For gradient descent whose learning rate is theta, and the training loss after a step, a step's estimate
    is -(gradient after it) . (gradient before it): the rate rises while successive gradients agree. With a
    window of one step it is truncated backpropagation; with longer ones theta moves once a window.

    Biased, by the shortest horizon that there is: it prefers rates that are good for the next step. Needs a
    graph that is differentiable in theta, with losses that are measured after the update; does not smooth.

    Variance: only that of the data. Memory: one window's intermediate values. Cost: K (F + B) for a window of
    K; for plain gradient descent the paper's form takes no more than a product of gradients.

    References: Baydin, Cornish, Martinez Rubio, Schmidt, Wood 2018, Online learning rate adaptation with
        hypergradient descent (arXiv 1703.04782); Almeida et al. 1998, Parameter adaptation in stochastic
        optimization.
    """

    needs_derivatives: ClassVar[bool] = True

    @property
    def steps_per_window(self) -> int:
        """The steps of a window; backward passes are not counted."""
        return self.unrolled

    @property
    def _truncated(self) -> Backpropagation:
        return TruncatedBPTT(self.horizon, self.window, self.objective, self.phase)

    def init(self, dynamics: Dynamics, theta: Theta) -> SoloState:
        """Return a particle of zeros with a finished episode of no steps.

        Raises:
            UsageError: if no loss depends on theta through its own step.
        """
        state = self._truncated.init(OneStep(dynamics), theta)
        loss = lambda theta, dynamics, inner, key: dynamics.step(theta, inner, key)[1]  # noqa: E731
        if not leaf_pattern(loss, theta, dynamics, state.episode.state, jax.random.key(0)).any():
            raise UsageError(
                "the loss of a step does not depend on theta through that step, so its hypergradient is "
                "zero: measure it after the update (--measured-on inner_valid), or take tbptt"
            )
        return state

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: SoloState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[SoloState, Estimate]:
        """Run a window, and differentiate its steps one by one."""
        return self._truncated.step(OneStep(dynamics), theta, state, key, meta_step)

"""Backpropagation truncated at random steps, with compensation."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, State, Theta
from .backpropagation import Backpropagation, SoloState
from .base import Estimate, Estimator
from .bptt import BPTT
from .registry import register

_GATES = 0x67617465


class RandomlyTruncated(Dynamics):
    """A graph whose gradients are cut at random between steps, and scaled up where they are not cut.

    The forward pass is that of the wrapped graph. Before each step there is a cut with probability c = (alpha
    - 1) / ((alpha - 2) length + steps since the last cut); the gradient with respect to the state is
    multiplied by 0 at a cut, and by 1 / (1 - c) otherwise, so by 1 on average.
    """

    graph: Dynamics
    length: float = struct.field(pytree_node=False)
    alpha: float = struct.field(pytree_node=False)

    def init(self, theta: Theta, horizon: Int[Array, ""], key: Key[Array, ""]) -> tuple[State, Array]:
        """Start the graph, with no cut so far."""
        return self.graph.init(theta, horizon, key), jnp.zeros((), jnp.int32)

    def step(
        self, theta: Theta, state: tuple[State, Array], key: Key[Array, ""]
    ) -> tuple[tuple[State, Array], Float[Array, ""]]:
        """Draw whether the gate is cut, and advance the graph."""
        inner, since = state
        # A separate stream: split folds in 0, 1, 2, ..., which the graph may use.
        uniform = jax.random.uniform(jax.random.fold_in(key, _GATES))
        chance = (self.alpha - 1) / ((self.alpha - 2) * self.length + since.astype(uniform.dtype))
        cut = uniform < chance
        factor = jnp.where(cut, 0.0, 1 / (1 - chance))
        gated = jax.tree.map(lambda leaf: _gate(leaf, factor), inner)
        inner, loss = self.graph.step(theta, gated, key)
        return (inner, jnp.where(cut, 0, since) + 1), loss

    @property
    def ceiling(self) -> float:
        """The ceiling of the wrapped graph."""
        return self.graph.ceiling


def _gate(leaf: Any, factor: Float[Array, ""]) -> Any:
    """Return the leaf unchanged, with its gradient multiplied by `factor`."""
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return leaf
    fixed = jax.lax.stop_gradient(leaf)
    # leaf - fixed is 0, also if the leaf is infinite.
    moving = jnp.where(jnp.isfinite(leaf), leaf - fixed, 0)
    return fixed + factor.astype(leaf.dtype) * moving


@register("artbp")
@dataclasses.dataclass(frozen=True)
class ARTBP(Estimator):
    """Backpropagate through whole episodes, with cuts at random steps and compensation elsewhere.

    Unbiased: every path through the graph is cut with some probability, and weighted by the inverse
    probability otherwise. Needs a differentiable graph, and does not smooth.

    Variance: grows with the memory of the graph beyond `length`; finite for alpha > 3 for graphs whose
        gradients stay bounded. Memory and cost: those of BPTT (T states, T (F + B)). A compiled loop has a
        fixed length, so cuts save nothing here, whereas the paper backpropagates through one segment at a
        time; the distribution of the estimates is that of the paper.

    Attributes:
        length: mean distance between cuts, in inner steps; None means the window.
        alpha: tail exponent of the distances; above 2.
        rematerialise: as in BPTT.

    Raises:
        UsageError: for an alpha of 2 or less, a length that makes a cut certain, and as in `Estimator`.

    References: Tallec and Ollivier 2017, Unbiasing truncated backpropagation through time (arXiv 1705.08209).
    """

    needs_derivatives: ClassVar[bool] = True

    length: float | None = None
    alpha: float = 4.0
    rematerialise: bool = False

    whole_episodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Estimator.__post_init__(self)
        if not self.alpha > 2:
            raise UsageError(f"alpha must be above 2, not {self.alpha}: cuts have no mean distance otherwise")
        if not (self.alpha - 2) * self._length > self.alpha - 1:
            least = (self.alpha - 1) / (self.alpha - 2)
            raise UsageError(
                f"a length of {self._length:g} makes a cut certain at the first step: take one above "
                f"{least:g} inner steps (length=..., or the window)"
            )

    @property
    def _length(self) -> float:
        return self.window if self.length is None else self.length

    @property
    def steps_per_window(self) -> int:
        """The steps of one episode; backward passes are not counted."""
        return self.unrolled

    @property
    def _exact(self) -> Backpropagation:
        return BPTT(self.horizon, self.window, self.objective, self.phase, self.rematerialise)

    def init(self, dynamics: Dynamics, theta: Theta) -> SoloState:
        """Return a particle of zeros with a finished episode of no steps."""
        return self._exact.init(self._gated(dynamics), theta)

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: SoloState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[SoloState, Estimate]:
        """Run an episode, and backpropagate through its gates."""
        return self._exact.step(self._gated(dynamics), theta, state, key, meta_step)

    def _gated(self, dynamics: Dynamics) -> Dynamics:
        return RandomlyTruncated(dynamics, self._length, self.alpha)

"""Implicit differentiation: the gradient at an optimum, by a Neumann series."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Minimising, Theta
from ..unroll import Episode, blank, renew
from .backpropagation import SoloState
from .base import Estimate, Estimator
from .registry import register
from .sparsity import leaf_pattern

_LOSSES = 0x6C6F7373


@register("implicit")
@dataclasses.dataclass(frozen=True)
class ImplicitDifferentiation(Estimator):
    """Take the parameters at a window's end for an optimum of the inner loss, and see how theta moves it.

    Where the inner loss f(w; theta) has a minimum, dw / dtheta = -H^-1 d2f/dw dtheta with H the Hessian of f.
    So the gradient of an outer loss g(w; theta) there is

        dg/dtheta - (H^-1 dg/dw)^T d2f/dw dtheta,    H^-1 v = rate sum_j (I - rate H)^j v,

    of which `terms` terms are summed; each takes a product with H. Needs `Minimising` dynamics, which have an
    inner and an outer loss: tuned training (`lopt-tune`). Both are computed on a fresh batch per window. The
    estimate of each window is the gradient of one step's loss, whatever the objective.

    Biased, unless the inner loss is at its minimum and the series has converged; blind to hyperparameters
    that only change how the loss is minimised, such as the learning rate, which are refused. Does not smooth.

    Variance: only that of the data. Memory: a state and four sets of parameters; no window is stored. Cost:
    K F for a window of K, and two forward and backward passes for each term.

    Attributes:
        terms: number of terms of the series.
        rate: its step size, below 2 divided by the largest eigenvalue of H; as for gradient descent.

    Raises:
        UsageError: for numbers that are not positive, and as in `Estimator`.

    References: Lorraine, Vicol, Duvenaud 2020, Optimizing millions of hyperparameters by implicit
        differentiation (arXiv 1911.02590); Larsen et al. 1996; Bengio 2000.
    """

    needs_derivatives: ClassVar[bool] = True

    terms: int = 20
    rate: float = 0.1

    def __post_init__(self) -> None:
        Estimator.__post_init__(self)
        if self.terms < 1:
            raise UsageError(f"terms must be at least 1, not {self.terms}")
        if not self.rate > 0:
            raise UsageError(f"rate must be positive, not {self.rate}")

    @property
    def steps_per_window(self) -> int:
        """The steps of a window; the terms of the series are not counted."""
        return self.unrolled

    def init(self, dynamics: Dynamics, theta: Theta) -> SoloState:
        """Return a particle of zeros with a finished episode of no steps.

        Raises:
            UsageError: for dynamics without an inner loss, or a part of theta on which no loss depends.
        """
        episode = blank(dynamics, theta)
        if not isinstance(dynamics, Minimising):
            raise UsageError(
                f"implicit differentiation needs dynamics with an inner loss, as tuned training has "
                f"(meta_train.Minimising), and {type(dynamics).__name__} has none: take bptt, rtrl or pes"
            )
        if unseen := _unseen(dynamics, theta, episode):
            raise UsageError(
                f"{unseen} is no part of the inner loss, so its optimum does not depend on it, and implicit "
                "differentiation is blind to it: tune it by bptt, hypergradient-descent or pes"
            )
        return SoloState.of(episode)

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: SoloState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[SoloState, Estimate]:
        """Run a window, and differentiate the optimum that it is taken to end at."""
        drawn = self.draw_step(key, state.episodes == 0, meta_step)
        episode = renew(dynamics, theta, state.episode, drawn.length, drawn.start_key)
        ended, window = self.unroll(dynamics, theta, episode, drawn.advance_key)
        # A separate stream: split folds in 0, 1, 2, ..., which the episode's draws use.
        gradient = self.hypergradient(dynamics, theta, ended, jax.random.fold_in(key, _LOSSES))
        return state.after(ended), self.report(gradient, ended, window, meta_step)

    def hypergradient(self, dynamics: Dynamics, theta: Theta, episode: Episode, key: Key[Array, ""]) -> Theta:
        """Return the gradient of the outer loss at an episode's parameters, taken for an optimum.

        Args:
            dynamics: `Minimising` dynamics.
            theta: the meta-parameters.
            episode: the episode.
            key: PRNG key of the batches.
        """
        slope, outer, parameters = _losses(dynamics, episode.state, key)
        direct, start = jax.grad(outer, argnums=(0, 1))(theta, parameters)

        def product(vector: Any) -> Any:
            return jax.jvp(lambda w: slope(theta, w), (parameters,), (vector,))[1]

        def add(_: Array, series: tuple[Any, Any]) -> tuple[Any, Any]:
            term, total = series
            ahead = jax.tree.map(lambda t, h: t - self.rate * h, term, product(term))
            return ahead, jax.tree.map(jnp.add, total, term)

        nothing = jax.tree.map(jnp.zeros_like, start)
        total = jax.lax.fori_loop(0, self.terms, add, (start, nothing))[1]
        _, pull = jax.vjp(lambda theta: slope(theta, parameters), theta)
        return jax.tree.map(lambda d, m: d - self.rate * m, direct, pull(total)[0])


def _losses(
    dynamics: Any, state: Any, key: Key[Array, ""]
) -> tuple[Callable[[Theta, Any], Any], Callable[[Theta, Any], Array], Any]:
    """Return the gradient of the inner loss and the outer loss, of theta and parameters, and the latter."""
    inner_key, outer_key = jax.random.split(key)
    inner = lambda theta, w: dynamics.inner_loss(theta, state, w, inner_key)  # noqa: E731
    outer = lambda theta, w: dynamics.outer_loss(theta, state, w, outer_key)  # noqa: E731
    return jax.grad(inner, argnums=1), outer, dynamics.parameters(state)


def _unseen(dynamics: Dynamics, theta: Theta, episode: Episode) -> str | None:
    """Return the name of a part of theta on which neither loss depends, if there is one."""

    def seen(theta: Theta, dynamics: Dynamics, state: Any, key: Array) -> list[Any]:
        slope, outer, parameters = _losses(dynamics, state, key)
        return [slope(theta, parameters), outer(theta, parameters)]

    moved = leaf_pattern(seen, theta, dynamics, episode.state, jax.random.key(0))
    for number, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(theta)):
        if not moved[:, number].any():
            return jax.tree_util.keystr(path, simple=True, separator=".") or "theta"
    return None

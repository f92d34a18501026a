"""The sparse n-step approximation of real-time recurrent learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from ..unroll import Episode
from .forward import Tangents, flattened, float_leaves
from .online import Moved, Online, Signs
from .reach import Reach, find_reach
from .registry import register
from .step_derivatives import take_step

Kept = Float[Array, " kept"]


@register("snap")
@dataclasses.dataclass(frozen=True)
class SnAp(Online):
    """Carry the derivative of the state with respect to theta, but only entries within reach of a few steps.

    An entry (state i, meta-parameter p) is kept if p can reach i within `steps` steps: SnAp-1 keeps what a
    step changes directly, SnAp-2 also what those states change in the next step, and so on. All others are
    taken to be zero. With as many steps as influence takes to spread, it is RTRL. What can reach what is read
    off the program of a step (`sparsity.py`), so it holds for all values. A step's gradient is (dL/ds) J +
    dL/dtheta for the state s and the kept J before the step, so it sees one step further than the paper's,
    which drops entries of J after the step first.

    Biased, unless nothing that is dropped would be other than zero: SnAp-1 is exact in element-wise
    recurrences. Needs a differentiable graph, and does not smooth.

    Variance: only that of the data. Memory: the kept entries and the products of which a step makes them.
    Cost of a step: F + B, and a forward derivative for each group of state entries, and each group of
    meta-parameters, that share no entry of the next state: S + P / S of them in a fully connected network
    with one matrix, against P for RTRL, and a few in element-wise recurrences.

    Attributes:
        steps: the number of steps n.
        max_megabytes: largest allowed size of the kept entries and the products, per particle.

    Raises:
        UsageError: for a number of steps that is not positive, and as in `Estimator`.

    References: Menick, Elsen, Evci, Osindero, Simonyan, Graves 2021, A practical sparse approximation for
        real time recurrent learning (arXiv 2006.07232).
    """

    steps: int = 1
    max_megabytes: float = 256.0

    def __post_init__(self) -> None:
        Online.__post_init__(self)
        if self.steps < 1:
            raise UsageError(f"steps must be at least 1, not {self.steps}")

    def blank_influence(self, dynamics: Dynamics, theta: Theta, episode: Episode) -> Kept:
        """Return zeros.

        Raises:
            UsageError: if it would take more than `max_megabytes`.
        """
        reach = find_reach(dynamics, theta, self.steps)
        if reach.megabytes > self.max_megabytes:
            raise UsageError(
                f"snap with steps={self.steps} keeps {len(reach.rows):,} influences, made of "
                f"{len(reach.to):,} products a step, {reach.megabytes:,.0f} MB, and max_megabytes is "
                f"{self.max_megabytes:g}: take fewer steps, or dodge, uoro or pes"
            )
        return jnp.zeros(len(reach.rows), ravel_pytree(theta)[0].dtype)

    def signs_per_step(self, dynamics: Dynamics, theta: Theta, episode: Episode) -> int:
        """Return 0: nothing is random."""
        return 0

    def begin(
        self,
        dynamics: Dynamics,
        theta: Theta,
        episode: Episode,
        start: Callable[[Theta], Tangents],
        signs: Signs,
    ) -> Kept:
        """Return the kept entries of the initial state's derivative."""
        reach, (flat, unravel) = find_reach(dynamics, theta, self.steps), ravel_pytree(theta)
        push = lambda seed: jax.jvp(start, (theta,), (unravel(seed),))[1]  # noqa: E731
        return reach.of_theta(reach.start, _derivatives(push, reach.start.seeds, flat.dtype))

    def move(
        self,
        dynamics: Dynamics,
        theta: Theta,
        influence: Kept,
        episode: Episode,
        key: Key[Array, ""],
        signs: Signs,
    ) -> Moved:
        """Do a step, and compute the kept entries after it."""
        reach: Reach = find_reach(dynamics, theta, self.steps)
        taken, (flat, unravel) = take_step(dynamics, self.objective, theta, episode, key), ravel_pytree(theta)
        slope = flattened(taken.slope, flat.dtype)
        through = jnp.zeros_like(flat).at[reach.columns].add(slope[reach.rows] * influence)
        floats = float_leaves(episode.state)
        direct = _derivatives(lambda s: taken.push_theta(unravel(s)), reach.direct.seeds, flat.dtype)
        recurrent = _derivatives(lambda s: taken.push(_shaped(s, floats)), reach.recurrent.seeds, flat.dtype)
        products = recurrent[reach.by] * influence[reach.of]
        moved = reach.of_theta(reach.direct, direct).at[reach.to].add(products)
        return Moved(moved, unravel(through), taken)


def _derivatives(push: Callable[[Array], Tangents], seeds: Array, dtype: jnp.dtype) -> Float[Array, " all"]:
    """Return the derivatives along the seeds, one after the other."""
    return jax.vmap(lambda seed: flattened(push(seed), dtype))(seeds.astype(dtype)).ravel()


def _shaped(flat: Array, floats: Tangents) -> Tangents:
    """Return a vector as tangents of a state."""
    pieces, done = [], 0
    for leaf in floats:
        pieces.append(flat[done : done + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
        done += leaf.size
    return tuple(pieces)

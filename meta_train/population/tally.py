"""The metrics of a meta-step, typed by how they are averaged.

They go through the same all-reduce as the gradient, are summed over the meta-steps of a call, and become a
flat dict of scalars at its end.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float

Metrics = dict[str, Array]


class Moments(NamedTuple):
    """A particle's moments for diagnostics; all particles have the same weight in their average."""

    age: Float[Array, ""]
    """Inner steps of its episode so far."""
    square: Float[Array, ""]
    """Squared norm of its estimate, as it enters the average."""
    age_square: Float[Array, ""]
    age_times_square: Float[Array, ""]


class Counts(NamedTuple):
    """The metrics of a particle, or their means over a member's particles."""

    shown: Metrics
    """Averaged over the members by their weights."""
    telling: Float[Array, ""]
    """1 if the estimate is finite and not silent."""
    moments: Moments


class Ratio(NamedTuple):
    """A mean over events that don't happen in every meta-step, such as ends of episodes."""

    total: Float[Array, ""]
    count: Float[Array, ""]

    @property
    def mean(self) -> Float[Array, ""]:
        """The mean over the events; NaN if there were none."""
        return self.total / self.count


class Tally(NamedTuple):
    """The metrics of a meta-step over all members, or their means over several meta-steps."""

    shown: Metrics
    ratios: dict[str, Ratio]
    moments: Moments
    agreement: Float[Array, ""]
    """Mean inner product of the estimates of two different particles."""

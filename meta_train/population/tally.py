"""The numbers of a meta-step, typed by how they are averaged.

They go through the one all-reduce beside the gradient, are summed over the meta-steps of a call, and become a
flat dict of scalars at its end.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float

Metrics = dict[str, Array]


class Moments(NamedTuple):
    """What diagnostics need of a particle: they are averaged over all particles alike."""

    age: Float[Array, ""]
    """Inner steps of its episode so far."""
    square: Float[Array, ""]
    """Squared norm of its estimate, as it is averaged."""
    age_square: Float[Array, ""]
    age_times_square: Float[Array, ""]


class Counts(NamedTuple):
    """The numbers of a particle; or the means of a member's particles."""

    shown: Metrics
    """Averaged over the members by their weights."""
    telling: Float[Array, ""]
    """1 where the estimate is finite and not silent."""
    moments: Moments


class Ratio(NamedTuple):
    """A mean over what does not happen in every meta-step, such as the end of an episode."""

    total: Float[Array, ""]
    count: Float[Array, ""]

    @property
    def mean(self) -> Float[Array, ""]:
        """NaN when it never happened."""
        return self.total / self.count


class Tally(NamedTuple):
    """The numbers of a meta-step, over all members; or means of several meta-steps."""

    shown: Metrics
    ratios: dict[str, Ratio]
    moments: Moments
    agreement: Float[Array, ""]
    """Mean inner product of two different particles' estimates."""

"""The part of theta that a run trains, if the rest is frozen."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics, State, Theta


@dataclasses.dataclass(frozen=True)
class Part:
    """Which leaves of theta are trained.

    Estimators and the outer optimizer only ever see those leaves, as a theta of its own: the frozen ones
    belong to the dynamics. So they have no noise, no gradient and no state of the outer optimizer, and no
    share in any norm or variance.

    Attributes:
        trained: for each leaf of theta whether it is trained; None if all are.
    """

    trained: tuple[bool, ...] | None = None

    @classmethod
    def like(cls, mask: Any) -> Part:
        """Return the part of a tree of True and False like theta, or of None: all of it."""
        leaves = jax.tree.leaves(mask)
        return cls(None if all(leaves) else tuple(map(bool, leaves)))

    def of(self, theta: Theta) -> Theta:
        """Return the part of a theta: a tuple of its leaves, or theta itself if it is trained as a whole."""
        if self.trained is None:
            return theta
        return tuple(leaf for leaf, own in zip(jax.tree.leaves(theta), self.trained, strict=True) if own)

    def joined(self, part: Theta, theta: Theta) -> Theta:
        """Return theta with this part replaced; its frozen leaves are the same arrays as before."""
        if self.trained is None:
            return part
        leaves, treedef = jax.tree.flatten(theta)
        new = iter(part)
        return treedef.unflatten(
            next(new) if own else leaf for leaf, own in zip(leaves, self.trained, strict=True)
        )

    def dynamics(self, dynamics: Dynamics, theta: Theta) -> Dynamics:
        """Return the dynamics as a function of this part, with the frozen leaves of a theta."""
        return dynamics if self.trained is None else _PartlyFrozen(dynamics, theta, self)


WHOLE = Part()
"""All of theta."""


class _PartlyFrozen(Dynamics):
    """Dynamics whose theta is a part of that of other dynamics."""

    whole: Dynamics
    theta: Theta
    """Only its frozen leaves are used."""
    part: Part = struct.field(pytree_node=False)

    def init(self, theta: Theta, horizon: Int[Array, ""], key: Key[Array, ""]) -> State:
        return self.whole.init(self.part.joined(theta, self.theta), horizon, key)

    def step(self, theta: Theta, state: State, key: Key[Array, ""]) -> tuple[State, Float[Array, ""]]:
        return self.whole.step(self.part.joined(theta, self.theta), state, key)

    @property
    def ceiling(self) -> float:
        return self.whole.ceiling

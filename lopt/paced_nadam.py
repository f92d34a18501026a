"""Adam's step with a pace for each tensor: the architecture of `lite`."""

from __future__ import annotations

from typing import ClassVar, Self

from jaxtyping import Array, Key

from .layout import Layout
from .paced import WEIGHT_DECAY, Paced, initial_theta
from .registry import register


@register("paced-nadam")
class PacedNAdam(Paced):
    """`Paced` around NAdam: no network per parameter and no matrix products; the cheapest rule here."""

    stacks: ClassVar[bool] = False

    @classmethod
    def create(
        cls, key: Key[Array, ""], step_scale: float = 0.157, weight_decay: float = WEIGHT_DECAY
    ) -> Self:
        """Draw the first layer of the paces' network; everything else starts at the nominal rule."""
        return cls(**initial_theta(key), step_scale=step_scale, weight_decay=weight_decay)

    def direction(self, adam: Array, ahead: Array, layout: Layout) -> Array:
        """Return Adam's."""
        return adam

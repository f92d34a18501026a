"""A language model of characters with gated recurrent units."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ..base import Task
from ..data.text import load_text
from ..layers import dense_shapes, draw_whole, log_uniform
from ..registry import register
from .gated_unit import advance
from .recurrent import CharRecurrent


class GRUInstance(NamedTuple):
    """One member of the family; every entry is a scalar."""

    units: Int[Array, ""]
    initial_scale: Float[Array, ""]


class CharGRU(CharRecurrent):
    """Predict each next character with a gated recurrent unit over embeddings.

    References:
        Cho et al. 2014, arXiv:1406.1078; the reset gate after the product, as in cuDNN.

    Raises:
        UsageError: for an empty range.
    """

    def sample(self, key: Key[Array, ""]) -> GRUInstance:
        """Draw a member: units uniformly, the scale log-uniformly."""
        units_key, scale_key = jax.random.split(key)
        return GRUInstance(
            units=draw_whole(units_key, self.units),
            initial_scale=log_uniform(scale_key, *self.initial_scales),
        )

    def recurrence_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes for the update gate, the reset gate and the new state."""
        return dense_shapes(self.units[1], 3 * self.units[1])

    def start(self, rows: int) -> Float[Array, "rows units"]:
        """Return zeros."""
        return jnp.zeros((rows, self.units[1]))

    def advance(
        self,
        recurrence: dict[str, Array],
        state: Float[Array, "rows units"],
        x: Float[Array, "rows gates"],
        live: Float[Array, "1 units"],
    ) -> tuple[Float[Array, "rows units"], Float[Array, "rows units"]]:
        """Return the next state, twice."""
        state = advance(recurrence, state, x, live)
        return state, state


@register("char-gru")
def char_gru() -> Task:
    """A GRU with 48 units on the sources of Python's standard library."""
    return CharGRU(load_text())


@register("char-gru-family")
def char_gru_family() -> Task:
    """GRUs whose number of units and initial scale are drawn."""
    return CharGRU(load_text(), units=(16, 48), initial_scales=(0.8, 1.25))

"""A language model of characters with long short-term memory."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Task
from ..data.text import load_text
from ..layers import Layers, check_choices, dense, draw_scale, draw_whole, log_uniform
from ..registry import register
from .recurrent import CharRecurrent

State = tuple[Float[Array, "rows units"], Float[Array, "rows units"]]


class LSTMInstance(NamedTuple):
    """One member of the family; every entry is a scalar."""

    units: Int[Array, ""]
    initial_scale: Float[Array, ""]
    forget_bias: Float[Array, ""]
    """The bias of the forget gates at the start."""


class CharLSTM(CharRecurrent):
    """Predict each next character with an LSTM over embeddings.

    References:
        Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; Gers, Schmidhuber and Cummins 2000,
        doi:10.1162/089976600300015015 (forget gates); Jozefowicz, Zaremba and Sutskever 2015, An empirical
        exploration of recurrent network architectures (their bias of 1).

    Raises:
        UsageError: for an empty range, or no forget bias.
    """

    forget_biases: tuple[float, ...] = struct.field(pytree_node=False, default=(1.0,))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(None, forget_biases=self.forget_biases)

    def sample(self, key: Key[Array, ""]) -> LSTMInstance:
        """Draw a member: units and forget bias uniformly, the scale log-uniformly."""
        units_key, scale_key, bias_key = jax.random.split(key, 3)
        return LSTMInstance(
            units=draw_whole(units_key, self.units),
            initial_scale=log_uniform(scale_key, *self.initial_scales),
            forget_bias=draw_scale(bias_key, self.forget_biases),
        )

    def init(self, instance: LSTMInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); most biases start at zero."""
        layers, units = super().init(instance, key), self.units[1]
        layers["inputs"]["bias"] = layers["inputs"]["bias"].at[units : 2 * units].set(instance.forget_bias)
        return layers

    def recurrence_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape for the gates of input, forgetting and output, and for new values.

        The inputs' layer has the bias: a second one would do the same.
        """
        return {"kernel": (self.units[1], 4 * self.units[1])}

    def start(self, rows: int) -> State:
        """Return zeros for the cells and the outputs."""
        return jnp.zeros((rows, self.units[1])), jnp.zeros((rows, self.units[1]))

    def advance(
        self,
        recurrence: dict[str, Array],
        state: State,
        x: Float[Array, "rows gates"],
        live: Float[Array, "1 units"],
    ) -> tuple[State, Float[Array, "rows units"]]:
        """Return the next cells and outputs, and the outputs."""
        cells, outputs = state
        enter, keep, leave, new = jnp.split(x + dense(recurrence, outputs), 4, axis=-1)
        cells = jax.nn.sigmoid(keep) * cells + jax.nn.sigmoid(enter) * jnp.tanh(new)
        outputs = jax.nn.sigmoid(leave) * jnp.tanh(cells) * live
        return (cells, outputs), outputs


@register("char-lstm")
def char_lstm() -> Task:
    """An LSTM with 48 units on the sources of Python's standard library."""
    return CharLSTM(load_text())


@register("char-lstm-family")
def char_lstm_family() -> Task:
    """LSTMs whose number of units, initial scale and first forget bias are drawn."""
    return CharLSTM(load_text(), units=(16, 48), initial_scales=(0.8, 1.25), forget_biases=(0.0, 1.0, 2.0))

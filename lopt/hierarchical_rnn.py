"""HierarchicalRNN: recurrent networks for each parameter, each tensor and the whole, one above the other."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates, next_count
from .gru import GRU, init_gru, step_gru
from .layout import Layout
from .per_tensor import Tensors
from .placement import zeros_like
from .registry import register
from .sizes import sqrt

NUM_SCALES = 4
NUM_FEATURES = 2 * NUM_SCALES + 1
_EPS = 1e-16
_MOST_LOG_RATE = 33.0
_FIRST_RATE = 1e-3
_INPUT_DECAY, _SCALE_DECAY, _RATE_DECAY = 2.2, 3.2, 3.2
"""Logits at first: averages of the gradient keep 0.9, those of its square and of the rate 0.96."""


class ParameterMemory(NamedTuple):
    """What is kept for each parameter; in a state, each is a tree over the parameters."""

    hidden: Float[Array, "*shape units"]
    """State of the parameter's network."""
    momentum: tuple[Float[Array, "*shape"], ...]
    """Averages of g at four time scales."""
    second: tuple[Float[Array, "*shape"], ...]
    """Averages of their squares."""
    input_decay: Float[Array, "*shape"]
    """Of the fastest average of g at the next step; each slower one has the root of the one before."""
    scale_decay: Float[Array, "*shape"]
    """Of the averages of squares, at the next step."""
    log_rate: Float[Array, "*shape"]
    """Average of the logarithm of the step's size."""


_MEMORY = ParameterMemory(0, (0,) * NUM_SCALES, (0,) * NUM_SCALES, 0, 0, 0)  # type: ignore[arg-type]


class HierarchicalState(NamedTuple):
    """State of `HierarchicalRNN`."""

    count: Int[Array, ""]
    """Updates done so far."""
    parameters: ParameterMemory
    """Trees of what each parameter has."""
    mean_log_rates: Float[Array, " tensors"]
    """Means over the tensors of their parameters' log rates."""
    tensors: Float[Array, "tensors units"]
    """States of the tensors' networks."""
    whole: Float[Array, " units"]
    """State of the network above all."""


@register("hierarchical-rnn")
class HierarchicalRNN(LearnedOptimizer):
    """A GRU per parameter, told by one per tensor, told by one above all.

    Each parameter's GRU reads nine features: averages of g at four time scales, each over the root of its own
    average square, as asinh; the logarithms of these squares less their mean; and the logarithm of the
    parameter's rate, less the mean over its tensor. Its state writes a direction d, the decays of the next
    step's averages, and a change c of the rate. With r the average of the log rate so far:

        update = -exp(r + c + offset) d / rms(d),   r <- decay r + (1 - decay) (r + c)

    To d, a learned mix of the first four features is added. A tensor's GRU reads the mean of its parameters'
    states and features, the one above all the mean of the tensors' states; what is above adds to the biases
    of what is below. Features don't change when the loss is multiplied by a number. Theta has 7,960 entries.

    Not of the paper: gradients are taken at the parameters (no attention), and rates start at theta's own
    value, 0.001 at first, and not at random ones.

    References: Wichrowska et al. 2017, Learned optimizers that scale and generalize (arXiv 1703.04813).
    """

    parameter_cell: GRU
    tensor_cell: GRU
    whole_cell: GRU
    tensor_to_parameter: Float[Array, "tensor_units three_units"]
    whole_to_parameter: Float[Array, "whole_units three_units"]
    whole_to_tensor: Float[Array, "whole_units three_units"]
    readout: Float[Array, "units 4"]
    readout_bias: Float[Array, "3"]
    shortcut: Float[Array, "4"]
    log_rate: Float[Array, ""]
    rate_decay: Float[Array, ""]
    offset: Float[Array, ""]
    hidden_size: int = struct.field(pytree_node=False, default=10)
    tensor_size: int = struct.field(pytree_node=False, default=20)
    whole_size: int = struct.field(pytree_node=False, default=20)

    @classmethod
    def create(
        cls, key: Key[Array, ""], hidden_size: int = 10, tensor_size: int = 20, whole_size: int = 20
    ) -> Self:
        """Draw the cells and the read-out, but for that of the rate, which starts at no change."""
        keys = jax.random.split(key, 7)
        draw = lambda k, fan_in, fan_out: (  # noqa: E731
            jax.random.normal(k, (fan_in, fan_out), jnp.float32) * np.float32(0.5 * fan_in**-0.5)
        )
        return cls(
            parameter_cell=init_gru(keys[0], NUM_FEATURES, hidden_size),
            tensor_cell=init_gru(keys[1], hidden_size + NUM_FEATURES, tensor_size),
            whole_cell=init_gru(keys[2], tensor_size, whole_size),
            tensor_to_parameter=draw(keys[3], tensor_size, 3 * hidden_size),
            whole_to_parameter=draw(keys[4], whole_size, 3 * hidden_size),
            whole_to_tensor=draw(keys[5], whole_size, 3 * tensor_size),
            readout=draw(keys[6], hidden_size, 4).at[:, 3].set(0.0),
            readout_bias=jnp.asarray([_INPUT_DECAY, _SCALE_DECAY, 0.0], jnp.float32),
            shortcut=jnp.full(NUM_SCALES, 1 / NUM_SCALES, jnp.float32),
            log_rate=jnp.log(jnp.float32(_FIRST_RATE)),
            rate_decay=jnp.asarray(_RATE_DECAY, jnp.float32),
            offset=jnp.asarray(-1.0, jnp.float32),
            hidden_size=hidden_size,
            tensor_size=tensor_size,
            whole_size=whole_size,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> HierarchicalState:
        """Return the networks' first states and empty averages; the horizon is not used."""

        def start(param: Array, _: Layout) -> ParameterMemory:
            zeros = zeros_like(param)
            first = self.parameter_cell["start"].reshape(*[1] * param.ndim, -1)
            return ParameterMemory(
                hidden=zeros_like(param, self.hidden_size) + first,
                momentum=(zeros,) * NUM_SCALES,
                second=(zeros,) * NUM_SCALES,
                input_decay=zeros,
                scale_decay=zeros,
                log_rate=zeros + self.log_rate,
            )

        tensors = Tensors(params, self.layout)
        zeros = tensors.zeros
        return HierarchicalState(
            count=jnp.zeros((), jnp.int32),
            parameters=tensors.start(start, _MEMORY),
            mean_log_rates=zeros[:, 0] + self.log_rate,
            tensors=zeros + self.tensor_cell["start"][None],
            whole=jnp.sum(zeros) + self.whole_cell["start"],
        )

    def update(
        self, grads: Updates, state: HierarchicalState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, HierarchicalState]:
        """Advance the networks of every level by one step; the loss is not used."""
        bias = state.tensors @ self.tensor_to_parameter + (state.whole @ self.whole_to_parameter)[None]

        def rule(
            _: Layout, grad: Array, memory: ParameterMemory, bias: Array, mean_log_rate: Array
        ) -> tuple[Array, Any, Array]:
            scaled, momentum, second = _scaled_averages(grad, memory)
            features = _features(scaled, second, memory.log_rate - mean_log_rate)
            bias = bias.reshape(*[1] * grad.ndim, -1)
            hidden = step_gru(self.parameter_cell, features, memory.hidden, bias)
            direction, decays, now = self._read_out(hidden, scaled, memory.log_rate)
            kept = jax.nn.sigmoid(self.rate_decay)
            log_rate = kept * memory.log_rate + (1 - kept) * now
            # All that is measured of a tensor is measured at once: where it is divided, its parts meet here.
            columns = jnp.stack([jnp.square(direction), log_rate], axis=-1)
            summary = jnp.mean(jnp.concatenate([hidden, features, columns], axis=-1), axis=range(grad.ndim))
            update = -jnp.exp(now + self.offset) * direction / jnp.sqrt(summary[-2] + _EPS)
            return update, ParameterMemory(hidden, momentum, second, *decays, log_rate), summary

        tensors = Tensors(params, self.layout, grads)
        before = tensors.states(state.parameters, _MEMORY)
        told = tensors.spread(bias), tensors.spread(state.mean_log_rates)
        results = tensors.map(rule, tensors.grads, before, *told)
        updates, memories, summaries = ([result[n] for result in results] for n in range(3))
        summary = tensors.gather(summaries, self.hidden_size + NUM_FEATURES + 2)
        from_whole = (state.whole @ self.whole_to_tensor)[None]
        below = step_gru(self.tensor_cell, summary[:, :-2], state.tensors, from_whole)
        mean = jnp.sum(below, axis=0) / max(len(tensors), 1)
        return tensors.updates(updates), HierarchicalState(
            count=next_count(state.count),
            parameters=tensors.states_back(memories, state.parameters, _MEMORY),
            mean_log_rates=summary[:, -1],
            tensors=below,
            whole=step_gru(self.whole_cell, mean, state.whole),
        )

    def _read_out(
        self, hidden: Array, scaled: list[Array], log_rate: Array
    ) -> tuple[Array, tuple[Array, Array], Array]:
        """Return the direction, the decays of the next step, and the logarithm of this one's rate."""
        direction, *others = (hidden @ self.readout[:, n] for n in range(4))
        direction = direction + sum(weight * x for weight, x in zip(self.shortcut, scaled, strict=True))
        to_input, to_scale, change = (x + self.readout_bias[n] for n, x in enumerate(others))
        now = jnp.clip(log_rate + change, -_MOST_LOG_RATE, _MOST_LOG_RATE)
        return direction, (jax.nn.sigmoid(to_input), jax.nn.sigmoid(to_scale)), now


def _scaled_averages(
    grad: Array, memory: ParameterMemory
) -> tuple[list[Array], tuple[Array, ...], tuple[Array, ...]]:
    """Return the averages of g over the roots of their squares' averages, and both averages."""
    decay, scaled, momentum, second = memory.input_decay, [], [], []
    for m, v in zip(memory.momentum, memory.second, strict=True):
        m = decay * m + (1 - decay) * grad
        v = memory.scale_decay * v + (1 - memory.scale_decay) * jnp.square(m)
        scaled.append(jnp.arcsinh(m / jnp.sqrt(v + _EPS)))
        momentum.append(m)
        second.append(v)
        decay = sqrt(decay)
    return scaled, tuple(momentum), tuple(second)


def _features(
    scaled: list[Array], second: tuple[Array, ...], relative_rate: Array
) -> Float[Array, "... features"]:
    logs = [jnp.log(v + _EPS) for v in second]
    middle = sum(logs) / NUM_SCALES
    return jnp.stack([*scaled, *[log - middle for log in logs], relative_rate], axis=-1)

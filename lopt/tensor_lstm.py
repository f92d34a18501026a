"""TensorLSTM: an LSTM per tensor tells a network per parameter what kind of tensor it works on."""

from __future__ import annotations

import functools
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates, next_count
from .features import STEP_SCALES
from .layout import Layout
from .loss_features import LossMoments, standardise_loss, start_moments
from .mlp import Layer, apply_stacked, init_layers, linear, linear_stacked
from .per_tensor import Grouped, Tensors
from .placement import zeros_like
from .recurrence import Memory, Recurrence
from .registry import register
from .sizes import mean_square, means, sqrt, sums
from .tensor_summaries import NUM_TENSOR_SUMMARIES, tensor_summary

DECAYS = (0.5, 0.9, 0.99, 0.999, 0.9999)
NUM_PLANES = 3 + 4 * len(DECAYS)
"""Features of a parameter."""
NUM_CONSTANTS = len(STEP_SCALES) + 3
"""Features that the network sees, and that are the same for all parameters of a tensor."""
_SIZE_DECAY = 0.99
_LARGEST_GRADIENT = 10.0
"""Gradients are clipped to so many times their usual root mean square."""


class Averages(NamedTuple):
    """Moving averages at each of the decays; in a state, each is a tree over the parameters."""

    first: tuple[Float[Array, "..."], ...]
    """Of g."""
    second: tuple[Float[Array, "..."], ...]
    """Of g^2."""


_AVERAGES = Averages((0,) * len(DECAYS), (0,) * len(DECAYS))  # type: ignore[arg-type]


class TensorLSTMState(NamedTuple):
    """State of `TensorLSTM`."""

    count: Int[Array, ""]
    """Updates done so far."""
    losses: LossMoments
    gradient_size: Float[Array, ""]
    """Moving average of the gradients' root mean square."""
    memory: Memory
    """Of the LSTM, a row a tensor."""
    from_parameters: Float[Array, "tensors from_parameters"]
    """What each tensor's parameters told its LSTM in the last step."""
    from_tensors: Float[Array, " from_tensors"]
    """What all tensors told each of them in the last step."""
    averages: Averages
    """Trees of moving averages."""


@register("tensor-lstm")
class TensorLSTM(LearnedOptimizer):
    """An LSTM per tensor and an MLP per parameter, which talk to each other.

    The LSTM reads 18 features of its tensor (sizes and signs of its averages, parameters and gradient, its
    shape, the loss), what its parameters' networks put out on average in the last step, and the mean over
    all tensors of what their LSTMs did. The MLP reads 23 features of a parameter, each over its root mean
    square, 14 of its tensor and of time, and what its tensor's LSTM says. The update is -direction *
    exp(magnitude_scale * magnitude) * step_scale. Gradients are clipped to ten times their usual size.

    The MLP is 32 units wide: an update takes some 260 bytes for each parameter of the largest tensor.

    References: Metz, Maheswaranathan, Freeman, Poole, Sohl-Dickstein 2020, Tasks, stability, architecture,
        and compute: training more effective learned optimizers, and using them to train themselves
        (arXiv 2009.11243); sizes are those of the authors' published code.
    """

    layers: tuple[Layer, ...]
    lstm: Recurrence
    to_parameters: Layer
    to_tensors: Layer
    first_from_parameters: Float[Array, " from_parameters"]
    first_from_tensors: Float[Array, " from_tensors"]
    hidden_size: int = struct.field(pytree_node=False, default=32)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    lstm_size: int = struct.field(pytree_node=False, default=64)
    to_parameters_size: int = struct.field(pytree_node=False, default=17)
    from_parameters_size: int = struct.field(pytree_node=False, default=16)
    from_tensors_size: int = struct.field(pytree_node=False, default=18)
    step_scale: float = struct.field(pytree_node=False, default=1e-3)
    magnitude_scale: float = struct.field(pytree_node=False, default=1e-3)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        hidden_size: int = 32,
        hidden_layers: int = 2,
        lstm_size: int = 64,
        to_parameters_size: int = 17,
        from_parameters_size: int = 16,
        from_tensors_size: int = 18,
        step_scale: float = 1e-3,
        magnitude_scale: float = 1e-3,
    ) -> Self:
        """Draw all weights, and the first messages."""
        keys = jax.random.split(key, 6)
        inputs = NUM_PLANES + NUM_CONSTANTS + to_parameters_size
        outputs = 2 + from_parameters_size
        heard = from_tensors_size + from_parameters_size
        return cls(
            layers=init_layers(keys[0], (inputs, *[hidden_size] * hidden_layers, outputs)),
            lstm=Recurrence.create(keys[1], heard + NUM_TENSOR_SUMMARIES + 2, lstm_size),
            to_parameters=init_layers(keys[2], (lstm_size, to_parameters_size))[0],
            to_tensors=init_layers(keys[3], (lstm_size, from_tensors_size))[0],
            first_from_parameters=init_layers(keys[4], (from_parameters_size, 1))[0]["kernel"][:, 0],
            first_from_tensors=init_layers(keys[5], (from_tensors_size, 1))[0]["kernel"][:, 0],
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            lstm_size=lstm_size,
            to_parameters_size=to_parameters_size,
            from_parameters_size=from_parameters_size,
            from_tensors_size=from_tensors_size,
            step_scale=step_scale,
            magnitude_scale=magnitude_scale,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> TensorLSTMState:
        """Return zero averages and the learned first messages; the horizon is not used."""
        tensors = Tensors(params, self.layout)
        zeros = tensors.zeros

        def start(param: Array, _: Layout) -> Averages:
            zeros = (zeros_like(param),) * len(DECAYS)
            return Averages(zeros, zeros)

        return TensorLSTMState(
            count=jnp.zeros((), jnp.int32),
            losses=start_moments(),
            gradient_size=1 - _SIZE_DECAY + jnp.sum(zeros),
            memory=self.lstm.start(zeros),
            from_parameters=self.first_from_parameters[None] + zeros,
            from_tensors=self.first_from_tensors + jnp.sum(zeros, axis=0),
            averages=tensors.start(start, _AVERAGES),
        )

    def update(
        self, grads: Updates, state: TensorLSTMState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, TensorLSTMState]:
        """Return the MLPs' steps; without a loss, its features are 0."""
        tensors = Tensors(params, self.layout, grads)
        clipped, gradient_size = _clip(tensors, state.gradient_size, state.count)
        averages = tensors.map(_update_averages, clipped, tensors.states(state.averages, _AVERAGES))
        seen, losses = standardise_loss(state.losses, loss)
        memory = self.lstm.step(_inputs(tensors, clipped, averages, seen, state), state.memory)
        told = tensors.spread(linear(self.to_parameters, memory.hidden))
        number = np.float32(max(len(tensors), 1))
        shared = jnp.concatenate([_waves(state.count), jnp.log(number)[None] - 1])
        rule = functools.partial(self._update_tensor, shared)
        results = tensors.map(rule, clipped, tensors.params, averages, told)
        updates, messages = ([result[n] for result in results] for n in range(2))
        from_tensors = jnp.sum(linear(self.to_tensors, memory.hidden), axis=0) / number
        return tensors.updates(updates), TensorLSTMState(
            count=next_count(state.count),
            losses=losses,
            gradient_size=gradient_size,
            memory=memory,
            from_parameters=tensors.gather(messages, self.from_parameters_size),
            from_tensors=from_tensors,
            averages=tensors.states_back(averages, state.averages, _AVERAGES),
        )

    def _update_tensor(
        self, shared: Array, _: Layout, grad: Array, param: Array, averages: Averages, told: Array
    ) -> tuple[Array, Array]:
        """Return a tensor's update, and what its parameters tell its LSTM."""
        norm = jnp.log(sqrt(sums((jnp.square(param),))) + 1e-8)
        size = jnp.full(1, np.log(np.float32(param.size)), jnp.float32)
        planes = _planes(grad, param, averages)
        scales = jax.lax.rsqrt(1e-5 + means([jnp.square(plane) for plane in planes]))
        kernel, constants_kernel = jnp.split(self.layers[0]["kernel"], [NUM_PLANES])
        # What is the same for every parameter is part of the bias.
        bias = self.layers[0]["bias"] + jnp.concatenate([shared, norm, size, told]) @ constants_kernel
        hidden = linear_stacked(kernel * scales[:, None], bias, jnp.stack(planes))
        direction, magnitude, *messages = apply_stacked(self.layers[1:], hidden)
        step = direction * jnp.exp(self.magnitude_scale * magnitude) * self.step_scale
        return -step, means(messages)


def _clip(
    tensors: Tensors, usual: Float[Array, ""], count: Int[Array, ""]
) -> tuple[Grouped, Float[Array, ""]]:
    """Clip gradients to ten times their usual size, and return what is usual then."""
    steps = (count + 1).astype(jnp.float32)
    most = usual / (1 - jnp.float32(_SIZE_DECAY) ** steps) * _LARGEST_GRADIENT
    clipped = tensors.map(lambda _, grad: jnp.clip(grad, -most, most), tensors.grads)
    squares = tensors.gather(tensors.map(lambda _, grad: mean_square(grad), clipped), 1)
    size = jnp.sqrt(1e-8 + jnp.sum(squares) / np.float32(max(len(tensors), 1)))
    return clipped, usual * _SIZE_DECAY + size * (1 - _SIZE_DECAY)


def _update_averages(_: Layout, grad: Array, averages: Averages) -> Averages:
    decays = np.asarray(DECAYS, np.float32)
    seen = (grad, jnp.square(grad))
    return Averages(
        *(
            tuple(d * a + (1 - d) * x for d, a in zip(decays, each, strict=True))
            for each, x in zip(averages, seen, strict=True)
        )
    )


def _inputs(
    tensors: Tensors, grads: Grouped, averages: Grouped, losses: Float[Array, "2"], state: TensorLSTMState
) -> Float[Array, "tensors inputs"]:
    """Return what the LSTM reads: messages, the tensor's summary, and the loss."""
    summaries = tensors.map(
        lambda _, grad, param, averages: tensor_summary(grad, param, *averages),
        grads,
        tensors.params,
        averages,
    )
    alike = lambda row: jnp.broadcast_to(row[None], (len(tensors), row.size))  # noqa: E731
    own = tensors.gather(summaries, NUM_TENSOR_SUMMARIES)
    return jnp.concatenate([alike(state.from_tensors), state.from_parameters, own, alike(losses)], axis=1)


def _planes(grad: Array, param: Array, averages: Averages) -> list[Array]:
    """Return the features of every parameter, one array each."""
    scales = [jax.lax.rsqrt(second + 1e-6) for second in averages.second]
    return [
        *(grad, param, jnp.log(jnp.abs(param) + 1e-8)),
        *(*averages.first, *averages.second),
        *[first * scale for first, scale in zip(averages.first, scales, strict=True)],
        *scales,
    ]


def _waves(count: Int[Array, ""]) -> Float[Array, "11"]:
    """Return sin(t / (pi s)) for eleven time scales s, t being the updates done so far."""
    return jnp.sin(count.astype(jnp.float32) / (jnp.asarray(STEP_SCALES, jnp.float32) * np.float32(np.pi)))

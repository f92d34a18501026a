"""VeLO: an LSTM per tensor mixes a bank of tiny networks into the one that updates the tensor."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .accumulators import MOMENTS, Moments
from .base import LearnedOptimizer, Params, Updates, checked_horizon, next_count
from .features import FRACTION_CENTRES, count_over_horizon, fraction_features
from .layout import Layout
from .loss_features import NUM_LOSS_FEATURES, LossAverages, follow_loss, start_averages
from .mlp import Layer, init_layers, linear
from .per_tensor import Tensors
from .recurrence import Memory, MixingRecurrence
from .registry import register
from .relative_mlp import init_relative_mlp, relative_step, start_moments
from .tensor_summaries import NUM_MOMENT_SUMMARIES, moment_summary

NUM_INPUTS = len(FRACTION_CENTRES) + NUM_LOSS_FEATURES + NUM_MOMENT_SUMMARIES
"""Features of a tensor that the LSTM reads."""


class VeLOState(NamedTuple):
    """State of `VeLO`."""

    count: Int[Array, ""]
    """Updates done so far."""
    horizon: Int[Array, ""]
    """Declared length of the training run, in inner steps."""
    losses: LossAverages
    memory: Memory
    """Of the LSTM, a row a tensor."""
    moments: Moments
    """Trees of moving averages."""


@register("velo")
class VeLO(LearnedOptimizer):
    """An LSTM per tensor writes the weights of the MLP that updates the tensor's parameters.

    The LSTM reads 30 features: the fraction of the run (9), the loss (9), size and variance of the tensor's
    moments relative to its parameters, and its rank; tensors hear of one another by a maximum over them. It
    puts out a coefficient c_k for each of the MLPs in a bank, and a rate; the tensor's own MLP has the
    weights mixture_scale * mean over k of c_k w_k. This reads 30 features of a parameter, and the update is
    -rate * sqrt(mean(p^2)) * direction * exp(magnitude_scale * magnitude) * step_scale. Decays are .9, .99,
    .999, and not learned.

    By default it is of the published size, 2.3 million meta-parameters.

    References: Metz et al. 2022, VeLO: training versatile learned optimizers by scaling up
        (arXiv 2211.09760); the network is that of the authors' published code.
    """

    needs_horizon: ClassVar[bool] = True

    network: MixingRecurrence
    controls: Layer
    rate: Layer
    bank: tuple[Layer, ...]
    """Layers of an MLP, each with a first axis over the bank."""
    hidden_size: int = struct.field(pytree_node=False, default=4)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    lstm_size: int = struct.field(pytree_node=False, default=512)
    bank_size: int = struct.field(pytree_node=False, default=256)
    mixture_scale: float = struct.field(pytree_node=False, default=100.0)
    step_scale: float = struct.field(pytree_node=False, default=1e-3)
    magnitude_scale: float = struct.field(pytree_node=False, default=1e-3)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        hidden_size: int = 4,
        hidden_layers: int = 2,
        lstm_size: int = 512,
        bank_size: int = 256,
        mixture_scale: float = 100.0,
        step_scale: float = 1e-3,
        magnitude_scale: float = 1e-3,
    ) -> Self:
        """Draw the weights of the LSTM, its read-outs and every MLP of the bank."""
        network_key, controls_key, rate_key, bank_key = jax.random.split(key, 4)
        one = lambda key: init_relative_mlp(key, hidden_size, hidden_layers)  # noqa: E731
        return cls(
            network=MixingRecurrence.create(network_key, NUM_INPUTS, lstm_size),
            controls=init_layers(controls_key, (lstm_size, bank_size))[0],
            rate=init_layers(rate_key, (lstm_size, 1))[0],
            bank=jax.vmap(one)(jax.random.split(bank_key, bank_size)),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            lstm_size=lstm_size,
            bank_size=bank_size,
            mixture_scale=mixture_scale,
            step_scale=step_scale,
            magnitude_scale=magnitude_scale,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> VeLOState:
        """Return zero moments, and the LSTM's first state for every tensor.

        Raises:
            UsageError: without a horizon, or with one that is no whole number from 1.
        """
        horizon = checked_horizon(horizon, "VeLO")
        tensors = Tensors(params, self.layout)
        return VeLOState(
            count=jnp.zeros((), jnp.int32),
            horizon=horizon,
            losses=start_averages(horizon),
            memory=self.network.lstm.start(tensors.zeros),
            moments=start_moments(tensors),
        )

    def update(
        self, grads: Updates, state: VeLOState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, VeLOState]:
        """Return the mixed MLPs' steps; without a loss, its features are 0."""
        tensors = Tensors(params, self.layout, grads)
        moments = tensors.states(state.moments, MOMENTS)
        timing = fraction_features(count_over_horizon(state.count, state.horizon))
        seen, losses = follow_loss(state.losses, loss)
        memory = self.network.step(self._inputs(tensors, moments, timing, seen), state.memory)
        rates = linear(self.rate, memory.hidden)[:, 0]
        mixed, structure = jax.tree.flatten(self._mixed(linear(self.controls, memory.hidden)))

        def rule(
            _: Layout, grad: Array, param: Array, moments: Moments, rate: Array, *weights: Array
        ) -> tuple[Array, Moments]:
            layers, scales = structure.unflatten(weights), (self.step_scale, self.magnitude_scale)
            step, moments = relative_step(layers, grad, param, moments, *scales)
            return -rate * step, moments

        values = [tensors.spread(each) for each in (rates, *mixed)]
        updates, moments = tensors.apply(rule, state.moments, MOMENTS, *values)
        return updates, VeLOState(next_count(state.count), state.horizon, losses, memory, moments)

    def _inputs(self, tensors: Tensors, moments: list, timing: Array, seen: Array) -> Array:
        """Return what the LSTM reads, a row a tensor. It is told of the moments before this update."""
        summaries = tensors.gather(
            tensors.map(lambda _, *of: moment_summary(*of), tensors.params, moments), NUM_MOMENT_SUMMARIES
        )
        shared = jnp.concatenate([timing, seen])[None]
        shared = jnp.broadcast_to(shared, (len(tensors), shared.shape[1]))
        return jnp.concatenate([shared, summaries], axis=1)

    def _mixed(self, controls: Float[Array, "tensors bank"]) -> tuple[Layer, ...]:
        """Return every tensor's own layers, with a first axis over tensors."""
        shares = controls * (self.mixture_scale / self.bank_size)
        return jax.tree.map(lambda bank: jnp.tensordot(shares, bank, axes=1), self.bank)

"""A learned schedule: one LSTM for all tensors, which sees the loss and how far the training run is."""

from __future__ import annotations

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .features import FRACTION_CENTRES, count_over_horizon, fraction_features
from .loss_features import NUM_LOSS_FEATURES, LossAverages, follow_loss, start_averages
from .mlp import Layer, init_layers, linear
from .recurrence import Memory, MixingRecurrence

NUM_INPUTS = len(FRACTION_CENTRES) + NUM_LOSS_FEATURES
"""Features that the LSTM reads."""


class SchedulerState(NamedTuple):
    """State of a `Scheduler`."""

    losses: LossAverages
    memory: Memory
    """Of one row."""


class Scheduler(struct.PyTreeNode):
    """0.1 exp(an LSTM's output): what steps are multiplied by.

    The original runs it for every tensor. Its inputs are the same for all, and so is what comes out.

    References: Moudgil et al. 2025 (arXiv 2501.12670).
    """

    network: MixingRecurrence
    rate: Layer

    @classmethod
    def create(cls, key: Key[Array, ""], units: int) -> Self:
        """Draw the weights of an LSTM with so many units."""
        network_key, rate_key = jax.random.split(key)
        network = MixingRecurrence.create(network_key, NUM_INPUTS, units)
        return cls(network, init_layers(rate_key, (units, 1))[0])

    def start(self, horizon: Int[Array, ""]) -> SchedulerState:
        """Return the state before the first step of a run of `horizon` inner steps."""
        return SchedulerState(
            start_averages(horizon), self.network.lstm.start(jnp.zeros((1, 1), jnp.float32))
        )

    def step(
        self,
        count: Int[Array, ""],
        horizon: Int[Array, ""],
        state: SchedulerState,
        loss: Float[Array, ""] | None,
    ) -> tuple[Float[Array, ""], SchedulerState]:
        """Return the factor and the next state, after `count` inner steps."""
        timing = fraction_features(count_over_horizon(count, horizon))
        seen, losses = follow_loss(state.losses, loss)
        memory = self.network.step(jnp.concatenate([timing, seen])[None], state.memory)
        factor = jnp.exp(linear(self.rate, memory.hidden)[0, 0]) * 0.1
        return factor, SchedulerState(losses, memory)

"""Celo: a tiny network per parameter, and an LSTM that schedules its steps."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .accumulators import MOMENTS, Moments
from .base import LearnedOptimizer, Params, Updates, checked_horizon, next_count
from .layout import Layout
from .mlp import Layer
from .per_tensor import Tensors
from .registry import register
from .relative_mlp import init_relative_mlp, relative_step, start_moments
from .scheduler import Scheduler, SchedulerState


class CeloState(NamedTuple):
    """State of `Celo`."""

    count: Int[Array, ""]
    """Updates done so far."""
    horizon: Int[Array, ""]
    """Declared length of the training run, in inner steps."""
    scheduler: SchedulerState
    moments: Moments
    """Trees of moving averages."""


@register("celo")
class Celo(LearnedOptimizer):
    """A small MLP steps in units of its tensor's size; one LSTM multiplies all steps by a schedule.

    The MLP reads 30 features of a parameter, with 2 layers of 4 units; the LSTM, of 64 units, the fraction of
    the run and nine features of the loss. The update is -rate * sqrt(mean(p^2)) * direction *
    exp(magnitude_scale * magnitude) * step_scale. Decays are .9, .99, .999, and not learned.

    It is meta-trained in two phases: the MLP alone, with `scheduled=False`, so that rate is 1; then the
    scheduler alone, with `scheduled=True` and the MLP frozen. The presets `celo-phase-1` and `celo-phase-2`
    of `lopt-train` do so (`--freeze`).

    References: Moudgil, Knyazev, Lajoie, Belilovsky 2025, Celo: training versatile learned optimizers on a
        compute diet (arXiv 2501.12670).
    """

    needs_horizon: ClassVar[bool] = True

    mlp: tuple[Layer, ...]
    scheduler: Scheduler
    hidden_size: int = struct.field(pytree_node=False, default=4)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    lstm_size: int = struct.field(pytree_node=False, default=64)
    step_scale: float = struct.field(pytree_node=False, default=1e-3)
    magnitude_scale: float = struct.field(pytree_node=False, default=1e-3)
    scheduled: bool = struct.field(pytree_node=False, default=True)
    """Whether the scheduler has a say: False in the first phase of meta-training."""

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        hidden_size: int = 4,
        hidden_layers: int = 2,
        lstm_size: int = 64,
        step_scale: float = 1e-3,
        magnitude_scale: float = 1e-3,
        scheduled: bool = True,
    ) -> Self:
        """Draw the weights of both networks."""
        mlp_key, scheduler_key = jax.random.split(key)
        return cls(
            mlp=init_relative_mlp(mlp_key, hidden_size, hidden_layers),
            scheduler=Scheduler.create(scheduler_key, lstm_size),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            lstm_size=lstm_size,
            step_scale=step_scale,
            magnitude_scale=magnitude_scale,
            scheduled=scheduled,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> CeloState:
        """Return zero moments, and the scheduler's first state.

        Raises:
            UsageError: without a horizon, or with one that is no whole number from 1.
        """
        horizon = checked_horizon(horizon, "Celo")
        moments = start_moments(Tensors(params, self.layout))
        return CeloState(jnp.zeros((), jnp.int32), horizon, self.scheduler.start(horizon), moments)

    def update(
        self, grads: Updates, state: CeloState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, CeloState]:
        """Return the MLP's steps at the scheduler's rate; without a loss, that sees the time alone."""
        rate, scheduler = jnp.ones((), jnp.float32), state.scheduler
        if self.scheduled:
            rate, scheduler = self.scheduler.step(state.count, state.horizon, scheduler, loss)

        def rule(_: Layout, grad: Array, param: Array, moments: Moments) -> tuple[Array, Moments]:
            scales = self.step_scale, self.magnitude_scale
            step, moments = relative_step(self.mlp, grad, param, moments, *scales)
            return -rate * step, moments

        tensors = Tensors(params, self.layout, grads)
        updates, moments = tensors.apply(rule, state.moments, MOMENTS)
        return updates, CeloState(next_count(state.count), state.horizon, scheduler, moments)

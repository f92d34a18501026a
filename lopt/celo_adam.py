"""CeloAdam: Adam on a learned schedule."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates, checked_horizon, next_count
from .layout import Layout
from .per_tensor import Tensors
from .placement import zeros_like
from .registry import register
from .relative_mlp import LARGEST_GRADIENT
from .scheduler import Scheduler, SchedulerState

_DECAYS = (0.9, 0.999)
_EPS = 1e-8
_EPS_IN_ROOT = 1e-10
"""Added to the average of g^2 before its root is taken."""


class CeloAdamState(NamedTuple):
    """State of `CeloAdam`."""

    count: Int[Array, ""]
    """Updates done so far."""
    horizon: Int[Array, ""]
    """Declared length of the training run, in inner steps."""
    scheduler: SchedulerState
    first: Params
    """Averages of g, a tree like the parameters."""
    second: Params
    """Averages of g^2."""


@register("celo-adam")
class CeloAdam(LearnedOptimizer):
    """Adam's step, multiplied by Celo's scheduler: theta is that LSTM alone.

    The update is -rate * step_scale * m / (sqrt(v + 1e-10) + 1e-8), with bias-corrected averages at .9 and
    .999. The scheduler sees the fraction of the run and nine features of the loss; it is the same for all
    tensors.

    References: Moudgil et al. 2025 (arXiv 2501.12670), their submission to AlgoPerf; Kingma and Ba 2014
        (arXiv 1412.6980).
    """

    needs_horizon: ClassVar[bool] = True

    scheduler: Scheduler
    lstm_size: int = struct.field(pytree_node=False, default=64)
    step_scale: float = struct.field(pytree_node=False, default=1e-3)

    @classmethod
    def create(cls, key: Key[Array, ""], lstm_size: int = 64, step_scale: float = 1e-3) -> Self:
        """Draw the scheduler's weights."""
        return cls(Scheduler.create(key, lstm_size), lstm_size, step_scale)

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> CeloAdamState:
        """Return zero averages, and the scheduler's first state.

        Raises:
            UsageError: without a horizon, or with one that is no whole number from 1.
        """
        horizon = checked_horizon(horizon, "CeloAdam")
        zeros = lambda param, layout: (zeros_like(param),) * 2  # noqa: E731
        averages = Tensors(params, self.layout).start(zeros, (0, 0))
        return CeloAdamState(jnp.zeros((), jnp.int32), horizon, self.scheduler.start(horizon), *averages)

    def update(
        self, grads: Updates, state: CeloAdamState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, CeloAdamState]:
        """Return Adam's steps at the scheduler's rate; without a loss, that sees the time alone."""
        count = next_count(state.count)
        rate, scheduler = self.scheduler.step(state.count, state.horizon, state.scheduler, loss)
        decays = jnp.asarray(_DECAYS, jnp.float32)
        corrections = 1 - decays ** count.astype(jnp.float32)

        def rule(_: Layout, grad: Array, param: Array, averages: tuple[Array, Array]) -> tuple[Array, Any]:
            grad = jnp.clip(grad, -LARGEST_GRADIENT, LARGEST_GRADIENT)
            seen = (grad, jnp.square(grad))
            averages = tuple(d * a + (1 - d) * x for d, a, x in zip(decays, averages, seen, strict=True))
            first, second = (a / c for a, c in zip(averages, corrections, strict=True))
            return first * -(rate * self.step_scale / (_EPS + jnp.sqrt(second + _EPS_IN_ROOT))), averages

        tensors = Tensors(params, self.layout, grads, stack=False)  # few operations
        updates, averages = tensors.apply(rule, (state.first, state.second), (0, 0))
        return updates, CeloAdamState(count, state.horizon, scheduler, *averages)

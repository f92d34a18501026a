"""LearnableNAdamW: Nesterov's Adam with weight decay, its hyperparameters as theta."""

from __future__ import annotations

from typing import Any, Self

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .base import Params, Updates, next_count
from .hand_designed import AdamState, zero_moments
from .layout import Layout
from .learned_rates import LearnedRates, rate_options
from .per_tensor import Tensors
from .registry import register
from .sizes import sqrt


@register("learnable-nadamw")
class LearnableNAdamW(LearnedRates):
    """NAdamW; theta is the logarithms of its learning rate, 1 - b1, 1 - b2, epsilon and weight decay.

    The update is -rate (a + weight_decay p), where a is Adam's direction with the momentum that the next step
    would see. `schedule_knots` and `rates_by_kind` are as in `LearnableSGD`.

    References: Dozat 2016, Incorporating Nesterov momentum into Adam; Loshchilov and Hutter 2017
        (arXiv 1711.05101), for the decay.
    """

    log_learning_rate: Float[Array, ""]
    log_one_minus_b1: Float[Array, ""]
    log_one_minus_b2: Float[Array, ""]
    log_eps: Float[Array, ""]
    log_weight_decay: Float[Array, ""]

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        learning_rate: float = 1e-3,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 1e-4,
        schedule_knots: int = 0,
        rates_by_kind: bool = False,
    ) -> Self:
        """Start at the given hyperparameters, the same throughout; nothing is random.

        Args:
            key: is not used.
            learning_rate: above 0, as are all of these.
            b1: decay of the average of g.
            b2: decay of the average of g^2.
            eps: added to the root of the latter.
            weight_decay: pull towards zero, over the learning rate.
            schedule_knots: 0 for no schedule.
            rates_by_kind: whether each kind of tensor has its own rate.
        """
        return cls(
            *(jnp.log(jnp.float32(x)) for x in (learning_rate, 1 - b1, 1 - b2, eps, weight_decay)),
            **rate_options(schedule_knots, rates_by_kind),
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> AdamState:
        """Return zero moments, and the horizon where there is a schedule.

        Raises:
            UsageError: when there is a schedule and no horizon.
        """
        return AdamState(
            jnp.zeros((), jnp.int32),
            *Tensors(params, self.layout).start(zero_moments, (0, 0)),
            horizon=self.horizon_of_schedule(horizon),
        )

    def update(
        self, grads: Updates, state: AdamState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, AdamState]:
        """Do one step; the loss is not used."""
        count = next_count(state.count)
        steps = count.astype(jnp.float32)
        decay1, decay2 = 1 - jnp.exp(self.log_one_minus_b1), 1 - jnp.exp(self.log_one_minus_b2)
        rate = self.scheduled(jnp.exp(self.log_learning_rate), state.count, state.horizon)
        eps, weight_decay = jnp.exp(self.log_eps), jnp.exp(self.log_weight_decay)

        def rule(
            layout: Layout, grad: Array, param: Array, moments: tuple[Array, Array]
        ) -> tuple[Array, Any]:
            first = decay1 * moments[0] + (1 - decay1) * grad
            second = decay2 * moments[1] + (1 - decay2) * jnp.square(grad)
            ahead = decay1 * first / (1 - decay1 ** (steps + 1)) + (1 - decay1) * grad / (1 - decay1**steps)
            direction = ahead / (sqrt(second / (1 - decay2**steps)) + eps)
            own = self.own_rate(rate, layout, grad.shape)
            return -own * (direction + weight_decay * param), (first, second)

        tensors = Tensors(params, self.layout, grads, stack=False)
        updates, moments = tensors.apply(rule, (state.first, state.second), (0, 0))
        return updates, AdamState(count, *moments, horizon=state.horizon)

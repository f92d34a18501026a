"""LearnableNAdamW: Nesterov's Adam with weight decay, its hyperparameters as theta."""

from __future__ import annotations

from typing import Self

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .hand_designed import AdamNow, AdamRule
from .learned_rates import rate_options
from .registry import register
from .sizes import sqrt


@register("learnable-nadamw")
class LearnableNAdamW(AdamRule):
    """NAdamW; theta is the logarithms of its learning rate, 1 - b1, 1 - b2, epsilon and weight decay.

    The update is -rate (a + weight_decay p), where a is Adam's direction with the momentum that the next step
    would see. `schedule_knots` and `rates_by_kind` are as in `LearnableSGD`.

    References: Dozat 2016, Incorporating Nesterov momentum into Adam; Loshchilov and Hutter 2017
        (arXiv 1711.05101), for the decay.
    """

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

    def step(
        self, rate: Array, grad: Array, param: Array, moments: tuple[Array, Array], now: AdamNow
    ) -> Array:
        """Return NAdam's step and the decay of the weights."""
        (first, second), (decay1, decay2, eps, steps) = moments, now
        ahead = decay1 * first / (1 - decay1 ** (steps + 1)) + (1 - decay1) * grad / (1 - decay1**steps)
        direction = ahead / (sqrt(second / (1 - decay2**steps)) + eps)
        return -rate * (direction + jnp.exp(self.log_weight_decay) * param)

"""Hand-designed rules with a handful of meta-parameters, for tests and sanity checks."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple, Self

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .base import Params, Updates, next_count
from .layout import Layout
from .learned_rates import LearnedRates, rate_options
from .per_tensor import Tensors
from .placement import zeros_like
from .registry import register
from .sizes import sqrt


class CountState(NamedTuple):
    """State of `LearnableSGD`."""

    count: Int[Array, ""]
    """Number of updates so far."""
    horizon: Int[Array, ""] | None = None
    """Declared length of the training run, in inner steps, where there is a schedule."""


class AdamState(NamedTuple):
    """State of `LearnableAdam` and `LearnableNAdamW`."""

    count: Int[Array, ""]
    """Number of updates so far."""
    first: Params
    """Averages of g, a tree like the parameters."""
    second: Params
    """Averages of g^2."""
    horizon: Int[Array, ""] | None = None
    """Declared length of the training run, in inner steps, where there is a schedule."""


class AdamNow(NamedTuple):
    """Numbers of one step of Adam's kind, the same for all tensors."""

    decay1: Float[Array, ""]
    decay2: Float[Array, ""]
    eps: Float[Array, ""]
    steps: Float[Array, ""]
    """Updates, this one included."""


@register("learnable-sgd")
class LearnableSGD(LearnedRates):
    """Gradient descent; theta is the logarithm of its learning rate.

    With `schedule_knots`, theta has as many logarithms more, by which the rate is multiplied in the course of
    a run, linear between knots that divide its horizon evenly. With `rates_by_kind`, it has four more, for
    matrices, vectors, embeddings and scalars, as the layout tells them apart.
    """

    log_learning_rate: Float[Array, ""]

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        learning_rate: float = 0.01,
        schedule_knots: int = 0,
        rates_by_kind: bool = False,
    ) -> Self:
        """Start at `learning_rate`, the same throughout; `key` is not used."""
        return cls(
            jnp.log(jnp.float32(learning_rate)),
            **rate_options(schedule_knots, rates_by_kind),
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> CountState:
        """Return a zero count, and the horizon where there is a schedule.

        Raises:
            UsageError: if there is a schedule and no horizon.
        """
        Tensors(params, self.layout)  # checks the parameters, as every rule does at the start
        return CountState(jnp.zeros((), jnp.int32), self.horizon_of_schedule(horizon))

    def update(
        self, grads: Updates, state: CountState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, CountState]:
        """Step against the gradient; the loss is not used."""
        rate = self.scheduled(jnp.exp(self.log_learning_rate), state.count, state.horizon)

        def rule(layout: Layout, grad: Array, param: Array, nothing: tuple[()]) -> tuple[Array, tuple[()]]:
            return -self.own_rate(rate, layout, grad.shape) * grad, nothing

        updates, _ = Tensors(params, self.layout, grads, stack=False).apply(rule, (), ())
        return updates, CountState(next_count(state.count), state.horizon)


class AdamRule(LearnedRates):
    """What `LearnableAdam` and `LearnableNAdamW` share: averages of g and g^2, and four logarithms."""

    log_learning_rate: Float[Array, ""]
    log_one_minus_b1: Float[Array, ""]
    log_one_minus_b2: Float[Array, ""]
    log_eps: Float[Array, ""]

    @abc.abstractmethod
    def step(
        self, rate: Array, grad: Array, param: Array, moments: tuple[Array, Array], now: AdamNow
    ) -> Array:
        """Return the update of a tensor.

        Args:
            rate: the tensor's own.
            grad: the gradient.
            param: the parameters.
            moments: averages of g and g^2 after this gradient.
            now: what is the same for all tensors.
        """

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> AdamState:
        """Return zero moments, and the horizon where there is a schedule.

        Raises:
            UsageError: if there is a schedule and no horizon.
        """
        zeros = lambda param, layout: (zeros_like(param), zeros_like(param))  # noqa: E731
        return AdamState(
            jnp.zeros((), jnp.int32),
            *Tensors(params, self.layout).start(zeros, (0, 0)),
            horizon=self.horizon_of_schedule(horizon),
        )

    def update(
        self, grads: Updates, state: AdamState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, AdamState]:
        """Follow the gradient and do one step; the loss is not used."""
        count = next_count(state.count)
        decay1, decay2 = 1 - jnp.exp(self.log_one_minus_b1), 1 - jnp.exp(self.log_one_minus_b2)
        rate = self.scheduled(jnp.exp(self.log_learning_rate), state.count, state.horizon)
        now = AdamNow(decay1, decay2, jnp.exp(self.log_eps), count.astype(jnp.float32))

        def rule(
            layout: Layout, grad: Array, param: Array, moments: tuple[Array, Array]
        ) -> tuple[Array, Any]:
            first = decay1 * moments[0] + (1 - decay1) * grad
            second = decay2 * moments[1] + (1 - decay2) * jnp.square(grad)
            own = self.own_rate(rate, layout, grad.shape)
            return self.step(own, grad, param, (first, second), now), (first, second)

        tensors = Tensors(params, self.layout, grads, stack=False)
        updates, moments = tensors.apply(rule, (state.first, state.second), (0, 0))
        return updates, AdamState(count, *moments, horizon=state.horizon)


@register("learnable-adam")
class LearnableAdam(AdamRule):
    """Adam; theta holds the logarithms of its learning rate, 1 - b1, 1 - b2 and epsilon.

    `schedule_knots` and `rates_by_kind` are as in `LearnableSGD`.

    References: Kingma and Ba 2014 (arXiv 1412.6980).
    """

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        learning_rate: float = 1e-3,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-8,
        schedule_knots: int = 0,
        rates_by_kind: bool = False,
    ) -> Self:
        """Start at the given hyperparameters, the same throughout; `key` is not used."""
        return cls(
            *(jnp.log(jnp.float32(x)) for x in (learning_rate, 1 - b1, 1 - b2, eps)),
            **rate_options(schedule_knots, rates_by_kind),
        )

    def step(
        self, rate: Array, grad: Array, param: Array, moments: tuple[Array, Array], now: AdamNow
    ) -> Array:
        """Return Adam's bias-corrected step."""
        first, second = moments
        unbiased1, unbiased2 = first / (1 - now.decay1**now.steps), second / (1 - now.decay2**now.steps)
        return -rate * unbiased1 / (sqrt(unbiased2) + now.eps)

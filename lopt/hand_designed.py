"""Hand-designed rules with a handful of meta-parameters, for tests and sanity checks."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates, next_count
from .layout import Layout
from .per_tensor import Tensors
from .placement import zeros_like
from .registry import register
from .sizes import sqrt


class CountState(NamedTuple):
    """State of `LearnableSGD`."""

    count: Int[Array, ""]
    """Number of updates so far."""


class AdamState(NamedTuple):
    """State of `LearnableAdam`."""

    count: Int[Array, ""]
    """Number of updates so far."""
    first: Params
    """Averages of g, a tree like the parameters."""
    second: Params
    """Averages of g^2."""


@register("learnable-sgd")
class LearnableSGD(LearnedOptimizer):
    """Gradient descent; theta is the logarithm of its learning rate."""

    log_learning_rate: Float[Array, ""]

    @classmethod
    def create(cls, key: Key[Array, ""], learning_rate: float = 0.01) -> Self:
        """Start at `learning_rate`; `key` is not used."""
        return cls(jnp.log(jnp.float32(learning_rate)))

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> CountState:
        """Return a zero count; the horizon is not used."""
        Tensors(params, self.layout)  # checks the parameters, as every rule does at the start
        return CountState(jnp.zeros((), jnp.int32))

    def update(
        self, grads: Updates, state: CountState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, CountState]:
        """Step against the gradient; the loss is not used."""
        rate = jnp.exp(self.log_learning_rate)
        tensors = Tensors(params, self.layout, grads, stack=False)
        updates, _ = tensors.apply(lambda layout, grad, param, state: (-rate * grad, ()), (), ())
        return updates, CountState(next_count(state.count))


@register("learnable-adam")
class LearnableAdam(LearnedOptimizer):
    """Adam; theta holds the logarithms of its learning rate, 1 - b1, 1 - b2 and epsilon.

    References: Kingma and Ba 2014 (arXiv 1412.6980).
    """

    log_learning_rate: Float[Array, ""]
    log_one_minus_b1: Float[Array, ""]
    log_one_minus_b2: Float[Array, ""]
    log_eps: Float[Array, ""]

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        learning_rate: float = 1e-3,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-8,
    ) -> Self:
        """Start at the given hyperparameters; `key` is not used."""
        return cls(*(jnp.log(jnp.float32(x)) for x in (learning_rate, 1 - b1, 1 - b2, eps)))

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> AdamState:
        """Return zero moments; the horizon is not used."""
        zeros = lambda param, layout: (zeros_like(param),) * 2  # noqa: E731
        return AdamState(jnp.zeros((), jnp.int32), *Tensors(params, self.layout).start(zeros, (0, 0)))

    def update(
        self, grads: Updates, state: AdamState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, AdamState]:
        """Do one bias-corrected Adam step; the loss is not used."""
        count = next_count(state.count)
        steps = count.astype(jnp.float32)
        decay1, decay2 = 1 - jnp.exp(self.log_one_minus_b1), 1 - jnp.exp(self.log_one_minus_b2)
        rate, eps = jnp.exp(self.log_learning_rate), jnp.exp(self.log_eps)

        def rule(_: Layout, grad: Array, param: Array, moments: tuple[Array, Array]) -> tuple[Array, Any]:
            first = decay1 * moments[0] + (1 - decay1) * grad
            second = decay2 * moments[1] + (1 - decay2) * jnp.square(grad)
            unbiased1, unbiased2 = first / (1 - decay1**steps), second / (1 - decay2**steps)
            return -rate * unbiased1 / (sqrt(unbiased2) + eps), (first, second)

        tensors = Tensors(params, self.layout, grads, stack=False)
        updates, moments = tensors.apply(rule, (state.first, state.second), (0, 0))
        return updates, AdamState(count, *moments)

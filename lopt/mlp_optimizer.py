"""MLPOptimizer: a small network per parameter over the gradient's momentum at six time scales."""

from __future__ import annotations

from typing import NamedTuple, Self

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates, next_count
from .features import STEP_SCALES, Features, project, step_features
from .layout import Layout
from .mlp import Layer, apply_layers, init_layers
from .per_tensor import Tensors
from .placement import zeros_like
from .registry import register
from .sizes import means

MOMENTUM_DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
NUM_FEATURES = 2 + len(MOMENTUM_DECAYS)
_TREES = (0,) * len(MOMENTUM_DECAYS)

Momenta = tuple[Float[Array, "..."], ...]


class MLPState(NamedTuple):
    """State of `MLPOptimizer`."""

    count: Int[Array, ""]
    """Updates done so far."""
    momentum: tuple[Params, ...]
    """Moving averages of g, a tree per decay."""


@register("mlp")
class MLPOptimizer(LearnedOptimizer):
    """An MLP per parameter reads the gradient, the parameter and six momenta, and writes a step.

    The features are g, the parameter, and averages of g with decays .1, .5, .9, .99, .999 and .9999, each
    divided by its root mean square over the tensor, and then tanh(t/s - 1) at eleven time scales s. Two
    layers of 32 ReLU units write direction and magnitude, and

        update = -direction * exp(magnitude_scale * magnitude) * step_scale

    Theta has 1,762 entries. With `mu_parametrised`, the step of a matrix is divided by its number of inputs,
    so that what was meta-trained at one width fits another. A first layer has as many inputs at every width:
    let `layout` say that it is no matrix.

    References: Metz et al. 2019, Understanding and correcting pathologies in the training of learned
        optimizers (arXiv 1810.10180); Therien et al. 2024 (arXiv 2406.00153), for the parametrisation.
    """

    layers: tuple[Layer, ...]
    hidden_size: int = struct.field(pytree_node=False, default=32)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    step_scale: float = struct.field(pytree_node=False, default=1e-3)
    magnitude_scale: float = struct.field(pytree_node=False, default=1e-3)
    mu_parametrised: bool = struct.field(pytree_node=False, default=False)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        hidden_size: int = 32,
        hidden_layers: int = 2,
        step_scale: float = 1e-3,
        magnitude_scale: float = 1e-3,
        mu_parametrised: bool = False,
    ) -> Self:
        """Draw the network's weights."""
        sizes = (NUM_FEATURES + len(STEP_SCALES), *[hidden_size] * hidden_layers, 2)
        return cls(
            layers=init_layers(key, sizes),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            step_scale=step_scale,
            magnitude_scale=magnitude_scale,
            mu_parametrised=mu_parametrised,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> MLPState:
        """Return zero momenta; the horizon is not used."""
        zeros = lambda param, layout: tuple(zeros_like(param) for _ in MOMENTUM_DECAYS)  # noqa: E731
        return MLPState(jnp.zeros((), jnp.int32), Tensors(params, self.layout).start(zeros, _TREES))

    def update(
        self, grads: Updates, state: MLPState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, MLPState]:
        """Return the network's steps; the loss is not used."""
        decays = jnp.asarray(MOMENTUM_DECAYS, jnp.float32)
        first = self.layers[0]
        kernel, step_kernel = jnp.split(first["kernel"], [NUM_FEATURES])
        # Step features are the same for every parameter: they are part of the bias.
        bias = first["bias"] + step_features(state.count) @ step_kernel

        def rule(layout: Layout, grad: Array, param: Array, momenta: Momenta) -> tuple[Array, Momenta]:
            momenta = tuple(decays[i] * m + (1 - decays[i]) * grad for i, m in enumerate(momenta))
            values = (grad, param, *momenta)
            features = Features(values, means([jnp.square(value) for value in values]))
            direction, magnitude = apply_layers(self.layers[1:], project(features, kernel, bias))
            step = direction * jnp.exp(self.magnitude_scale * magnitude) * self.step_scale
            return -(step / layout.fan_in(grad.shape) if self.mu_parametrised else step), momenta

        updates, momentum = Tensors(params, self.layout, grads).apply(rule, state.momentum, _TREES)
        return updates, MLPState(next_count(state.count), momentum)

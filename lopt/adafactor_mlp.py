"""AdafactorMLP: a tiny per-parameter network over many features."""

from __future__ import annotations

from typing import NamedTuple, Self

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .accumulators import MOMENTS, Decays, Moments, init_moments, meta_learned_decays, update_moments
from .base import LearnedOptimizer, Params, Updates, next_count
from .features import NUM_FEATURES, STEP_SCALES, parameter_features, project, step_features
from .layout import Layout
from .mlp import Layer, apply_layers, init_layers
from .per_tensor import Tensors
from .registry import register


class AdafactorMLPState(NamedTuple):
    """State of `AdafactorMLP`."""

    count: Int[Array, ""]
    """Number of updates so far."""
    moments: Moments
    """Trees of moving averages."""


@register("adafactor-mlp")
class AdafactorMLP(LearnedOptimizer):
    """small_fc_lopt: a small MLP that maps 39 features to a direction and a magnitude.

    The update is -direction * exp(magnitude_scale * magnitude) * step_scale. At the default size theta has
    197 entries: 190 weights and seven decays.

    References: Metz, Freeman, Harrison, Maheswaranathan, Sohl-Dickstein 2022, Practical tradeoffs between
        memory, compute, and performance in learned optimizers (arXiv 2203.11860).
    """

    layers: tuple[Layer, ...]
    momentum_decay: Float[Array, "3"]
    second_decay: Float[Array, ""]
    factored_decay: Float[Array, "3"]
    hidden_size: int = struct.field(pytree_node=False, default=4)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    step_scale: float = struct.field(pytree_node=False, default=1e-3)
    magnitude_scale: float = struct.field(pytree_node=False, default=1e-3)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        hidden_size: int = 4,
        hidden_layers: int = 2,
        step_scale: float = 1e-3,
        magnitude_scale: float = 1e-3,
    ) -> Self:
        """Draw the network's weights; the decays start at .9, .99, .999."""
        sizes = (NUM_FEATURES + len(STEP_SCALES), *[hidden_size] * hidden_layers, 2)
        return cls(
            layers=init_layers(key, sizes),
            momentum_decay=jnp.zeros(3, jnp.float32),
            second_decay=jnp.zeros((), jnp.float32),
            factored_decay=jnp.zeros(3, jnp.float32),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            step_scale=step_scale,
            magnitude_scale=magnitude_scale,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> AdafactorMLPState:
        """Return zero moments; the horizon is not used."""
        moments = Tensors(params, self.layout).start(init_moments, MOMENTS)
        return AdafactorMLPState(jnp.zeros((), jnp.int32), moments)

    def update(
        self,
        grads: Updates,
        state: AdafactorMLPState,
        params: Params,
        loss: Float[Array, ""] | None = None,
    ) -> tuple[Updates, AdafactorMLPState]:
        """Return the network's steps; the loss is not used."""
        decays = self.decays()
        first = self.layers[0]
        kernel, step_kernel = jnp.split(first["kernel"], [NUM_FEATURES])
        # Step features are the same for every parameter, so they are added to the bias.
        bias = first["bias"] + step_features(state.count) @ step_kernel

        def rule(_: Layout, grad: Array, param: Array, moments: Moments) -> tuple[Array, Moments]:
            moments = update_moments(moments, grad, decays)
            hidden = project(parameter_features(grad, param, moments), kernel, bias)
            direction, magnitude = apply_layers(self.layers[1:], hidden)
            return -direction * jnp.exp(self.magnitude_scale * magnitude) * self.step_scale, moments

        tensors = Tensors(params, self.layout, grads)
        updates, moments = tensors.apply(rule, state.moments, MOMENTS)
        return updates, AdafactorMLPState(next_count(state.count), moments)

    def decays(self) -> Decays:
        """Return the meta-learned decay rates (only those of squares are clipped, as in the original)."""
        decays = meta_learned_decays(self.momentum_decay, self.second_decay, self.factored_decay)
        return decays._replace(second=jnp.clip(decays.second, 0, 1), factored=jnp.clip(decays.factored, 0, 1))

"""STAR: a nominal Adam step plus a small bounded learned correction."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .accumulators import MOMENTS, Decays, Moments, init_moments, meta_learned_decays, update_moments
from .base import LearnedOptimizer, Params, Updates, checked_horizon, next_count
from .features import (
    FRACTION_CENTRES,
    NUM_FEATURES,
    fraction_done,
    fraction_features,
    parameter_features,
    project,
)
from .layout import Layout
from .mlp import Layer, apply_layers, init_layers
from .per_tensor import Tensors, overall_mean_square
from .registry import register
from .sizes import mean_square, means, sqrt

_GAIN = 0.3
"""Bound of the learned correction: of its log-magnitude, and of its size relative to the nominal step."""


class STARState(NamedTuple):
    """State of `STAR`."""

    count: Int[Array, ""]
    """Number of updates so far."""
    horizon: Int[Array, ""]
    """Declared length of the training run, in inner steps."""
    moments: Moments
    """Trees of moving averages."""
    scale: Float[Array, " tensors"]
    """Each tensor's size at initialisation, the unit of its steps."""


@register("star")
class STAR(LearnedOptimizer):
    """A nominal Adam step with a bounded correction by a per-parameter network.

    With the bias-corrected Adam direction a, the network's outputs o0 and o1, and the fraction t/T of the
    run:

        update = -s (a exp(0.3 tanh(o1)) + 0.3 rms(a) o0 / rms(o0))
        s = step_scale S max(1.02 - t/T, 0.02) exp(10 (c + w . f(t/T)))

    S is the tensor's size at initialisation, sqrt(rms(p0)^2 + 0.1 rms(all p0)^2): the second term lets
    tensors that start at zero move (if all do, rms(all p0) counts as 1). It stays fixed because steps that
    grow with the current weights diverge beyond the horizon of meta-training. f are nine tanh features of
    t/T, and (c, w) is a learned schedule.

    References: Harrison, Metz, Sohl-Dickstein 2022, A closer look at learned optimization: stability,
        robustness, and inductive biases (arXiv 2209.11208).
    """

    needs_horizon: ClassVar[bool] = True

    layers: tuple[Layer, ...]
    momentum_decay: Float[Array, "3"]
    second_decay: Float[Array, ""]
    factored_decay: Float[Array, "3"]
    log_rate: Float[Array, ""]
    schedule: Float[Array, "9"]
    hidden_size: int = struct.field(pytree_node=False, default=8)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    step_scale: float = struct.field(pytree_node=False, default=0.066)

    @classmethod
    def create(
        cls, key: Key[Array, ""], hidden_size: int = 8, hidden_layers: int = 2, step_scale: float = 0.066
    ) -> Self:
        """Draw the network's weights; decays start at Adam's, and the schedule as a linear decay."""
        sizes = (NUM_FEATURES + len(FRACTION_CENTRES), *[hidden_size] * hidden_layers, 2)
        return cls(
            layers=init_layers(key, sizes),
            momentum_decay=jnp.zeros(3, jnp.float32),
            second_decay=jnp.zeros((), jnp.float32),
            factored_decay=jnp.zeros(3, jnp.float32),
            log_rate=jnp.zeros((), jnp.float32),
            schedule=jnp.zeros(len(FRACTION_CENTRES), jnp.float32),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            step_scale=step_scale,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> STARState:
        """Measure the parameters' sizes and remember the horizon.

        Raises:
            ValueError: if the horizon is missing or not a whole number of at least 1.
        """
        tensors = Tensors(params, self.layout)
        own = tensors.gather(tensors.map(lambda layout, param: mean_square(param), tensors.params), 1)[:, 0]
        return STARState(
            count=jnp.zeros((), jnp.int32),
            horizon=checked_horizon(horizon, "STAR"),
            moments=tensors.start(init_moments, MOMENTS),
            scale=jnp.sqrt(own + 0.1 * overall_mean_square(own, tensors.sizes)),
        )

    def update(
        self, grads: Updates, state: STARState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, STARState]:
        """Return nominal steps with the network's correction; the loss is not used."""
        decays = self.decays()
        count = next_count(state.count)
        steps = count.astype(jnp.float32)
        fraction = fraction_done(state.count, state.horizon)
        first = self.layers[0]
        kernel, fraction_kernel = jnp.split(first["kernel"], [NUM_FEATURES])
        timing = fraction_features(fraction)
        bias = first["bias"] + timing @ fraction_kernel
        rate = self.step_scale * (1.02 - fraction) * jnp.exp(10 * (self.log_rate + self.schedule @ timing))

        def rule(
            _: Layout, grad: Array, param: Array, moments: Moments, scale: Array
        ) -> tuple[Array, Moments]:
            moments = update_moments(moments, grad, decays)
            hidden = project(parameter_features(grad, param, moments), kernel, bias)
            direction, magnitude = apply_layers(self.layers[1:], hidden)
            nominal = _adam_direction(moments, decays, steps)
            sizes = sqrt(means([jnp.square(nominal), jnp.square(direction)]))
            correction = _GAIN * sizes[0] / (sizes[1] + 1e-5) * direction
            step = nominal * jnp.exp(_GAIN * jnp.tanh(magnitude)) + correction
            return -rate * scale * step, moments

        tensors = Tensors(params, self.layout, grads)
        updates, moments = tensors.apply(rule, state.moments, MOMENTS, tensors.spread(state.scale))
        return updates, STARState(count, state.horizon, moments, state.scale)

    def decays(self) -> Decays:
        """Return the meta-learned decay rates."""
        decays = meta_learned_decays(self.momentum_decay, self.second_decay, self.factored_decay)
        return jax.tree.map(lambda d: jnp.clip(d, 0, 0.9999), decays)


def _adam_direction(moments: Moments, decays: Decays, steps: Float[Array, ""]) -> Float[Array, "..."]:
    first = moments.momentum[0] / (1 - decays.momentum[0] ** steps)
    second = moments.second / (1 - decays.second**steps)
    return first / (sqrt(second) + 1e-8)

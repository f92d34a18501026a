"""STAR: a nominal Adam step plus a small bounded learned correction."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .accumulators import Decays, Moments, init_moments, meta_learned_decays, update_moments
from .base import LearnedOptimizer, Params, Updates, next_count
from .features import FRACTION_CENTRES, NUM_FEATURES, fraction_features, parameter_features, project
from .mlp import Layer, apply_layers, init_layers
from .per_tensor import map_tensors, mean_square, overall_mean_square, rms, sqrt
from .registry import register

_GAIN = 0.3
"""Bound of the learned change to the nominal step: its log-magnitude, and its direction's share."""


class TensorState(NamedTuple):
    """What STAR keeps of one tensor."""

    moments: Moments
    scale: Float[Array, ""]
    """The tensor's size at initialisation, the unit of its steps."""


class STARState(NamedTuple):
    """State of `STAR`."""

    count: Int[Array, ""]
    """Updates done so far."""
    horizon: Int[Array, ""]
    """Declared length of the training run, in inner steps."""
    tensors: Any
    """A `TensorState` per tensor."""


@register("star")
class STAR(LearnedOptimizer):
    """A nominal Adam term that a per-parameter network bends but cannot overrule.

    With a the bias-corrected Adam direction, o0 and o1 the network's outputs, t/T the fraction of the run:

        update = -s (a exp(0.3 tanh(o1)) + 0.3 rms(a) o0 / rms(o0))
        s = step_scale S max(1.02 - t/T, 0.02) exp(10 (c + w . f(t/T)))

    S is the tensor's size at initialisation, sqrt(rms(p0)^2 + 0.1 rms(all p0)^2): the second term lets
    tensors that start at zero move (where all do, rms(all p0) counts as 1). It is frozen because a step that
    grows with the current weights runs away beyond the horizon of meta-training. f are nine tanh features of
    t/T: (c, w) is a learned schedule.

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
        """Draw the network's weights; decays start at Adam's and the schedule at a linear descent."""
        sizes = (NUM_FEATURES + len(FRACTION_CENTRES), *[hidden_size] * hidden_layers, 2)
        return cls(
            layers=init_layers(key, sizes),
            momentum_decay=jnp.zeros(3),
            second_decay=jnp.zeros(()),
            factored_decay=jnp.zeros(3),
            log_rate=jnp.zeros(()),
            schedule=jnp.zeros(len(FRACTION_CENTRES)),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            step_scale=step_scale,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> STARState:
        """Measure the parameters' sizes and remember the horizon.

        Raises:
            ValueError: without a horizon.
        """
        if horizon is None:
            raise ValueError("STAR needs the length of the training run: give horizon=, in inner steps")
        overall = overall_mean_square(params)

        def start(param: Array) -> TensorState:
            moments = init_moments(param)
            return TensorState(moments, jnp.sqrt(mean_square(param) + 0.1 * overall))

        return STARState(
            count=jnp.zeros((), jnp.int32),
            horizon=jnp.asarray(horizon, jnp.int32),
            tensors=jax.tree.map(start, params),
        )

    def update(
        self, grads: Updates, state: STARState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, STARState]:
        """Return nominal steps with the network's correction; the loss is not used."""
        decays = self.decays()
        count = next_count(state.count)
        fraction = jnp.minimum(state.count / state.horizon, 1.0)
        first = self.layers[0]
        kernel, fraction_kernel = jnp.split(first["kernel"], [NUM_FEATURES])
        timing = fraction_features(fraction)
        bias = first["bias"] + timing @ fraction_kernel
        rate = self.step_scale * (1.02 - fraction) * jnp.exp(10 * (self.log_rate + self.schedule @ timing))

        def rule(grad: Array, tensor: TensorState, param: Array) -> tuple[Array, TensorState]:
            moments = update_moments(tensor.moments, grad, decays)
            hidden = project(parameter_features(grad, param, moments), kernel, bias)
            direction, magnitude = apply_layers(self.layers[1:], hidden)
            nominal = _adam_direction(moments, decays, count)
            correction = _GAIN * rms(nominal) * direction / (rms(direction) + 1e-5)
            step = nominal * jnp.exp(_GAIN * jnp.tanh(magnitude)) + correction
            return -rate * tensor.scale * step, TensorState(moments, tensor.scale)

        updates, tensors = map_tensors(rule, grads, state.tensors, params)
        return updates, STARState(count, state.horizon, tensors)

    def decays(self) -> Decays:
        """Return the meta-learned decay rates."""
        decays = meta_learned_decays(self.momentum_decay, self.second_decay, self.factored_decay)
        return jax.tree.map(lambda d: jnp.clip(d, 0, 0.9999), decays)


def _adam_direction(moments: Moments, decays: Decays, count: Int[Array, ""]) -> Float[Array, "..."]:
    first = moments.momentum[0] / (1 - decays.momentum[0] ** count)
    second = moments.second / (1 - decays.second**count)
    return first / (sqrt(second) + 1e-8)

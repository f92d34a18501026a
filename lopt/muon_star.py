"""MuonSTAR: a nominal Muon step, a learned correction per parameter, and a learned pace per tensor."""

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
    Features,
    fraction_done,
    fraction_features,
    parameter_features,
    project,
)
from .layout import Layout
from .mlp import Layer, apply_layers, init_layers
from .orthogonal import partly_orthogonal
from .per_tensor import Tensors
from .registry import register
from .sizes import means, sqrt
from .units import TINY, initial_units, known_units

MOST_CORRECTION = 0.3
"""Bound of the learned correction: of its |log magnitude|, and of its size relative to the nominal step."""
MOST_LOG_PACE = 2.0
"""Bound of the logarithm of a tensor's pace, which so lies between 1/7.4 and 7.4."""
SCHEDULE_POWER, SCHEDULE_FLOOR = 1.5, 0.02
"""The nominal schedule: (1 - t/T)^1.5 + 0.02."""
SCHEDULE_GAIN = 2.0
"""Factor of the learned schedule. At 10, as in STAR, the schedule would dominate the estimates of evolution
strategies."""
COSINE_DECAY = 0.9
"""Decay of the moving average of the cosine between a gradient and the preceding momentum."""
SECOND_OFFSET = 0.391
"""Offset of `second_decay`, which makes the decay of the average of squares start at 0.95."""
BLEND_OFFSET = 1.5
"""Offset of `blend`, which makes the share of Muon's step in a matrix's nominal step start at 0.82; the rest
is Adam's."""
NUM_PACE_FEATURES = len(FRACTION_CENTRES) + 6


class MuonSTARState(NamedTuple):
    """State of `MuonSTAR`."""

    count: Int[Array, ""]
    """Number of updates so far."""
    horizon: Int[Array, ""]
    """Declared length of the training run, in inner steps."""
    moments: Moments
    """Trees of moving averages."""
    scale: Float[Array, " tensors"]
    """Unit of each tensor's steps; 0 for a tensor that started at zero until its first nonzero gradient."""
    cosine: Float[Array, " tensors"]
    """Moving average of the cosine between the gradient and the preceding momentum."""


@register("muon-star")
class MuonSTAR(LearnedOptimizer):
    """STAR around Muon instead of Adam, with a pace for each tensor.

    Matrices (by their layout) are updated along their orthogonalised Nesterov momentum, with the size of
    Adam's step; other tensors along Adam's direction. Let a be this nominal direction, o0 and o1 the outputs
    of a per-parameter network, and q that of a per-tensor network:

        update = -s (a exp(0.3 tanh(o1)) + 0.3 rms(a) o0 / sqrt(1 + rms(o0)^2))
        s = step_scale S (max(1 - t/T, 0)^1.5 + 0.02) exp(2 (c + w . f(t/T))) exp(2 tanh(q))

    S is the tensor's size at initialisation, which stays fixed, as in STAR. For a tensor that starts at zero,
    S is inferred from its first gradient: the size at which it would affect the loss as much as the others do
    (their size times their gradient, over its own gradient), so S scales with rescaled parameters. The inputs
    of q's network are the fraction of the run, the agreement of gradients (the size of momenta over that of
    gradients, at three decays, and the cosine of the gradient with the preceding momentum), the tensor's
    growth, and whether it is a matrix. Both networks' last layers start at zero, so the untrained rule is
    Muon with a schedule.

    References: Harrison, Metz, Sohl-Dickstein 2022 (arXiv 2209.11208), for STAR; Jordan et al. 2024
        (https://kellerjordan.github.io/posts/muon/), for Muon.
    """

    needs_horizon: ClassVar[bool] = True

    layers: tuple[Layer, ...]
    pace: tuple[Layer, ...]
    momentum_decay: Float[Array, "3"]
    second_decay: Float[Array, ""]
    factored_decay: Float[Array, "3"]
    blend: Float[Array, ""]
    log_rate: Float[Array, ""]
    schedule: Float[Array, "9"]
    hidden_size: int = struct.field(pytree_node=False, default=8)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    step_scale: float = struct.field(pytree_node=False, default=0.18)

    @classmethod
    def create(
        cls, key: Key[Array, ""], hidden_size: int = 8, hidden_layers: int = 2, step_scale: float = 0.18
    ) -> Self:
        """Draw the networks' first layers; everything else starts at the nominal rule."""
        layers_key, pace_key = jax.random.split(key)
        sizes = (NUM_FEATURES + len(FRACTION_CENTRES), *[hidden_size] * hidden_layers, 2)
        return cls(
            layers=_silent(init_layers(layers_key, sizes)),
            pace=_silent(init_layers(pace_key, (NUM_PACE_FEATURES, 8, 1))),
            momentum_decay=jnp.zeros(3, jnp.float32),
            second_decay=jnp.zeros((), jnp.float32),
            factored_decay=jnp.zeros(3, jnp.float32),
            blend=jnp.zeros((), jnp.float32),
            log_rate=jnp.zeros((), jnp.float32),
            schedule=jnp.zeros(len(FRACTION_CENTRES), jnp.float32),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            step_scale=step_scale,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> MuonSTARState:
        """Measure the parameters' sizes and remember the horizon.

        Raises:
            ValueError: if the horizon is missing or not a whole number of at least 1.
        """
        tensors = Tensors(params, self.layout)
        unit = initial_units(tensors)
        return MuonSTARState(
            count=jnp.zeros((), jnp.int32),
            horizon=checked_horizon(horizon, "MuonSTAR"),
            moments=tensors.start(init_moments, MOMENTS),
            scale=unit,
            cosine=jnp.zeros_like(unit),
        )

    def update(
        self, grads: Updates, state: MuonSTARState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, MuonSTARState]:
        """Return nominal steps with the network's correction; the loss is not used."""
        decays = self.decays()
        count = next_count(state.count)
        steps = count.astype(jnp.float32)
        fraction = fraction_done(state.count, state.horizon)
        first = self.layers[0]
        kernel, fraction_kernel = jnp.split(first["kernel"], [NUM_FEATURES])
        timing = fraction_features(fraction)
        bias = first["bias"] + timing @ fraction_kernel
        rate = (
            self.step_scale
            * ((1 - fraction) ** SCHEDULE_POWER + SCHEDULE_FLOOR)
            * jnp.exp(SCHEDULE_GAIN * (self.log_rate + self.schedule @ timing))
        )
        share = jax.nn.sigmoid(BLEND_OFFSET + 10 * self.blend)

        def rule(
            layout: Layout, grad: Array, param: Array, moments: Moments, scale: Array, cosine: Array
        ) -> tuple[Array, Moments, Array]:
            cosine = COSINE_DECAY * cosine + (1 - COSINE_DECAY) * _cosine(grad, moments.momentum[0])
            moments = update_moments(moments, grad, decays)
            nominal = _nominal(grad, moments, decays, steps, share, layout)
            features = parameter_features(grad, param, moments)
            direction, magnitude = apply_layers(self.layers[1:], project(features, kernel, bias))
            squares = means([jnp.square(nominal), jnp.square(direction), moments.second])
            correction = MOST_CORRECTION * sqrt(squares[0]) * direction / jnp.sqrt(1 + squares[1])
            step = nominal * jnp.exp(MOST_CORRECTION * jnp.tanh(magnitude)) + correction
            size = sqrt(squares[2] / (1 - decays.second**steps))
            kind = layout.is_matrix(grad.shape)
            seen = _pace_features(timing, features, size, decays, steps, cosine, scale, kind)
            pace = MOST_LOG_PACE * jnp.tanh(_pace_network(self.pace, seen))
            return -rate * jnp.exp(pace) * scale * step, moments, cosine

        tensors = Tensors(params, self.layout, grads)
        scale = known_units(state.scale, tensors)
        results = tensors.map(
            rule,
            tensors.grads,
            tensors.params,
            tensors.states(state.moments, MOMENTS),
            tensors.spread(scale),
            tensors.spread(state.cosine),
        )
        updates, moments, cosine = ([result[n] for result in results] for n in range(3))
        moments = tensors.states_back(moments, state.moments, MOMENTS)
        cosine = tensors.gather(cosine, 1)[:, 0]
        return tensors.updates(updates), MuonSTARState(count, state.horizon, moments, scale, cosine)

    def decays(self) -> Decays:
        """Return the meta-learned decay rates."""
        second = self.second_decay + SECOND_OFFSET
        decays = meta_learned_decays(self.momentum_decay, second, self.factored_decay)
        return jax.tree.map(lambda d: jnp.clip(d, 0, 0.9999), decays)


def _nominal(
    grad: Array, moments: Moments, decays: Decays, steps: Array, share: Array, layout: Layout
) -> Array:
    decay = decays.momentum[0]
    ahead = (decay * moments.momentum[0] + (1 - decay) * grad) / (1 - decay**steps)
    adam = ahead / (sqrt(moments.second / (1 - decays.second**steps)) + 1e-8)
    if not layout.is_matrix(grad.shape):
        return adam
    return partly_orthogonal(adam, ahead, share, layout)


def _pace_features(
    timing: Array,
    features: Features,
    size: Array,
    decays: Decays,
    steps: Array,
    cosine: Array,
    scale: Array,
    is_matrix: bool,
) -> Array:
    sizes = sqrt(features.mean_squares[1:5])
    agreements = sizes[1:] / (1 - decays.momentum**steps) / (size + 1e-12)
    grown = jnp.tanh(jnp.log(sizes[0] / jnp.maximum(scale, TINY) + 1e-3))
    kind = jnp.float32(1.0 if is_matrix else -1.0)
    return jnp.concatenate([timing, jnp.minimum(agreements, 2.0), jnp.stack([cosine, grown, kind])])


def _pace_network(layers: tuple[Layer, ...], seen: Array) -> Array:
    hidden = jnp.tanh(seen @ layers[0]["kernel"] + layers[0]["bias"])
    return (hidden @ layers[1]["kernel"] + layers[1]["bias"])[0]


def _silent(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    return (*layers[:-1], jax.tree.map(jnp.zeros_like, layers[-1]))


def _cosine(a: Array, b: Array) -> Array:
    product, a_squared, b_squared = means([a * b, jnp.square(a), jnp.square(b)])
    return product / (sqrt(a_squared) * sqrt(b_squared) + 1e-20)

"""Adam's or Muon's step with a pace for each tensor, which follows the agreement of successive gradients."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates, checked_horizon, next_count
from .features import FRACTION_CENTRES, fraction_done, fraction_features
from .layout import Layout
from .mlp import Layer, init_layers, linear
from .orthogonal import partly_orthogonal
from .per_tensor import Tensors
from .placement import zeros_like
from .registry import register
from .sizes import means, sqrt
from .units import TINY, initial_units, known_units

INITIAL_DECAYS = (0.9, 0.97)
"""Decays of the averages of g and g^2 at the start of meta-training."""
AGREEMENT_DECAYS = (0.75, 0.95)
"""Decays of the averages of the agreement; the pace follows the first."""
START, GAIN, SHARPNESS, TARGET, LEAK = 0.4, 0.04, 5.0, -0.06, 0.01
"""The controller at the start of meta-training: the pace of the first step; the largest change of a pace's
logarithm in a step; how fast that is reached; the agreement at which a pace stays; and the share of a pace's
logarithm that is lost in a step."""
MOST_LOG_PACE = 9.0
SCHEDULE_POWER, SCHEDULE_FLOOR = 1.3, 0.02
"""The nominal schedule: (1 - t/T)^1.3 + 0.02."""
BLEND_OFFSET = 1.5
"""Makes the share of Muon's direction start at 0.82."""
NUM_TENSOR_FEATURES = 6
HIDDEN_SIZE = 8


class Averages(NamedTuple):
    """Moving averages of one tensor's gradient; in a state, each is a tree over the parameters."""

    momentum: Any
    """Average of g."""
    second: Any
    """Average of g^2."""


AVERAGES = Averages(0, 0)


class PacedState(NamedTuple):
    """State of a `Paced` rule."""

    count: Int[Array, ""]
    """Number of updates so far."""
    horizon: Int[Array, ""]
    """Declared length of the training run, in inner steps."""
    averages: Averages
    """Trees of moving averages."""
    scale: Float[Array, " tensors"]
    """Unit of each tensor's steps; 0 for a tensor that started at zero until its first nonzero gradient."""
    log_pace: Float[Array, " tensors"]
    agreement: Float[Array, "tensors 2"]
    """Moving averages of the cosine between the gradient and the step before."""


class Controller(NamedTuple):
    """How paces change; part of theta, as offsets that start at 0."""

    start: Float[Array, ""]
    gain: Float[Array, ""]
    sharpness: Float[Array, ""]
    target: Float[Array, ""]
    leak: Float[Array, ""]


class Paced(LearnedOptimizer):
    """A nominal step times a pace for each tensor that is adapted online.

    With a nominal direction a, the unit S of a tensor and the fraction t/T of the run:

        update = -step_scale S (max(1 - t/T, 0)^1.3 + 0.02) exp(2 (c + w . f(t/T))) exp(r + tanh(q1)) a
        r <- (1 - leak) r + gain tanh(sharpness (h - target) + 2 q0)

    r is the logarithm of the tensor's pace. h is an average of the cosine between the gradient and the step
    before (without its sign): positive while successive steps go the same way, which says that they are too
    short, and negative when they overshoot, as in hypergradient descent, but free of the scales of
    parameters and loss. So a tensor whose size at the start says little about the steps that it needs (an
    embedding, or weights that start small) finds its pace within tens of steps. q0 and q1 are the outputs of
    a network for each tensor, which sees t/T, both averages of the cosine and their mean over all tensors,
    the pace, the tensor's growth, and whether it is a matrix. Nothing is computed by a network per parameter,
    so an update costs little more than Adam's.

    References: Baydin et al. 2018 (arXiv 1703.04782), for the adaptation of rates by the products of
        successive gradients.
    """

    needs_horizon: ClassVar[bool] = True
    stacks: ClassVar[bool]
    """Whether equal tensors run together."""

    network: tuple[Layer, Layer]
    controller: Controller
    decays: Float[Array, "2"]
    log_rate: Float[Array, ""]
    schedule: Float[Array, "9"]

    @abc.abstractmethod
    def direction(self, adam: Array, ahead: Array, layout: Layout) -> Array:
        """Return the nominal direction of a tensor.

        Args:
            adam: Adam's direction, with Nesterov's momentum.
            ahead: the bias-corrected average of the gradient that it is made of.
            layout: the roles of the tensor's axes.
        """

    @property
    @abc.abstractmethod
    def nominal_step(self) -> float:
        """The size of a step of pace 1 at the start of the run, in units."""

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> PacedState:
        """Measure the parameters' sizes and remember the horizon.

        Raises:
            UsageError: if the horizon is missing or not a whole number of at least 1.
        """
        tensors = Tensors(params, self.layout)
        unit = initial_units(tensors)
        zeros = lambda param, layout: Averages(zeros_like(param), zeros_like(param))  # noqa: E731
        start = jnp.log(jnp.float32(START)) + 4 * self.controller.start
        return PacedState(
            count=jnp.zeros((), jnp.int32),
            horizon=checked_horizon(horizon, type(self).__name__),
            averages=tensors.start(zeros, AVERAGES),
            scale=unit,
            log_pace=jnp.zeros_like(unit) + start,
            agreement=jnp.zeros_like(unit)[:, None] * jnp.zeros((1, 2), jnp.float32),
        )

    def update(
        self, grads: Updates, state: PacedState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, PacedState]:
        """Adapt the paces, and return nominal steps at these; the loss is not used."""
        tensors = Tensors(params, self.layout, grads, stack=self.stacks)
        count = next_count(state.count)
        steps = count.astype(jnp.float32)
        scale = known_units(state.scale, tensors)
        fraction = fraction_done(state.count, state.horizon)
        timing = fraction_features(fraction)
        seen = tensors.gather(
            tensors.map(_look, tensors.grads, tensors.params, tensors.states(state.averages, AVERAGES)), 4
        )
        agreement, log_pace, instant = self._paces(state, seen, scale, timing)
        rate = self.nominal_step * self._schedule(fraction, timing)
        decays = jnp.clip(1 - jnp.exp(jnp.log1p(-jnp.float32(INITIAL_DECAYS)) + 10 * self.decays), 0, 0.9999)

        def rule(layout: Layout, grad: Array, param: Array, averages: Averages, step: Array) -> Any:
            first = decays[0] * averages.momentum + (1 - decays[0]) * grad
            second = decays[1] * averages.second + (1 - decays[1]) * jnp.square(grad)
            ahead = (decays[0] * first + (1 - decays[0]) * grad) / (1 - decays[0] ** steps)
            adam = ahead / (sqrt(second / (1 - decays[1] ** steps)) + 1e-8)
            return -step * self.direction(adam, ahead, layout), Averages(first, second)

        step = rate * scale * jnp.exp(log_pace + instant)
        updates, averages = tensors.apply(rule, state.averages, AVERAGES, tensors.spread(step))
        return updates, PacedState(count, state.horizon, averages, scale, log_pace, agreement)

    def _schedule(self, fraction: Array, timing: Array) -> Float[Array, ""]:
        nominal = (1 - fraction) ** SCHEDULE_POWER + SCHEDULE_FLOOR
        return nominal * jnp.exp(2 * (self.log_rate + self.schedule @ timing))

    def _paces(
        self, state: PacedState, seen: Float[Array, "tensors 4"], scale: Array, timing: Array
    ) -> tuple[Float[Array, "tensors 2"], Float[Array, " tensors"], Float[Array, " tensors"]]:
        """Return the agreements, the logarithms of paces, and the logarithm of a factor for this step."""
        cosine, is_moving, size, kind = jnp.moveaxis(seen, 1, 0)
        kept = jnp.where(is_moving[:, None] > 0, jnp.float32(AGREEMENT_DECAYS)[None], 1.0)
        agreement = kept * state.agreement + (1 - kept) * cosine[:, None]
        # Averages of few terms count for what they are.
        past = jnp.maximum(state.count.astype(jnp.float32), 1.0)
        known = agreement / (1 - jnp.float32(AGREEMENT_DECAYS) ** past)[None]
        grown = jnp.tanh(jnp.log(size / jnp.maximum(scale, TINY) + 1e-3))
        overall = jnp.mean(known[:, 1]) if known.shape[0] else jnp.zeros((), jnp.float32)
        of_all = jnp.concatenate([timing, overall[None]])
        own = [*jnp.moveaxis(known, 1, 0), jnp.tanh(state.log_pace / 3), grown, kind]
        rows = jnp.broadcast_to(of_all[None], (known.shape[0], of_all.shape[0]))
        hidden = jnp.tanh(linear(self.network[0], jnp.concatenate([rows, jnp.stack(own, axis=1)], axis=1)))
        moved, instant = jnp.moveaxis(linear(self.network[1], hidden), 1, 0)
        c = self.controller
        push = SHARPNESS * jnp.exp(4 * c.sharpness) * (known[:, 0] - TARGET - c.target / 2) + 2 * moved
        change = GAIN * jnp.exp(4 * c.gain) * jnp.tanh(push)
        # Before the first step, and without a gradient, nothing is known.
        change = jnp.where((is_moving > 0) & (state.count > 0), change, 0.0)
        leak = LEAK * jnp.exp(4 * c.leak)
        log_pace = jnp.clip((1 - leak) * state.log_pace + change, -MOST_LOG_PACE, MOST_LOG_PACE)
        return agreement, log_pace, jnp.tanh(instant)


@register("paced-nadam")
class PacedNAdam(Paced):
    """`Paced` around NAdam: no network per parameter and no matrix products; the cheapest rule here."""

    stacks: ClassVar[bool] = False

    step_scale: float = struct.field(pytree_node=False, default=0.165)

    @classmethod
    def create(cls, key: Key[Array, ""], step_scale: float = 0.165) -> Self:
        """Draw the network's first layer; everything else starts at the nominal rule."""
        return cls(**_initial(key), step_scale=step_scale)

    @property
    def nominal_step(self) -> float:
        return self.step_scale

    def direction(self, adam: Array, ahead: Array, layout: Layout) -> Array:
        """Return Adam's."""
        return adam


@register("paced-muon")
class PacedMuon(Paced):
    """`Paced` around Muon: matrices (by their layout) mostly follow their orthogonalised momentum."""

    stacks: ClassVar[bool] = True

    blend: Float[Array, ""]
    step_scale: float = struct.field(pytree_node=False, default=0.21)

    @classmethod
    def create(cls, key: Key[Array, ""], step_scale: float = 0.21) -> Self:
        """Draw the network's first layer; everything else starts at the nominal rule."""
        return cls(**_initial(key), blend=jnp.zeros((), jnp.float32), step_scale=step_scale)

    @property
    def nominal_step(self) -> float:
        return self.step_scale

    def direction(self, adam: Array, ahead: Array, layout: Layout) -> Array:
        """Return Muon's for matrices, at the size of Adam's, and Adam's for the rest."""
        if not layout.is_matrix(adam.shape):
            return adam
        return partly_orthogonal(adam, ahead, jax.nn.sigmoid(BLEND_OFFSET + 10 * self.blend), layout)


def _look(layout: Layout, grad: Array, param: Array, averages: Averages) -> Float[Array, "4"]:
    """Return the cosine of a gradient and the step before, whether there is a gradient, size, and kind."""
    before = averages.momentum / (sqrt(averages.second) + TINY)
    product, slope, length, size = means(
        [grad * before, jnp.square(grad), jnp.square(before), jnp.square(param)]
    )
    kind = jnp.float32(1.0 if layout.is_matrix(grad.shape) else -1.0)
    cosine = product / (sqrt(slope) * sqrt(length) + 1e-20)
    return jnp.stack([cosine, (slope > 0).astype(jnp.float32), sqrt(size), kind])


def _initial(key: Key[Array, ""]) -> dict[str, Any]:
    first, last = init_layers(key, (len(FRACTION_CENTRES) + NUM_TENSOR_FEATURES, HIDDEN_SIZE, 2))
    zero = jnp.zeros((), jnp.float32)
    return {
        "network": (first, jax.tree.map(jnp.zeros_like, last)),
        "controller": Controller(zero, zero, zero, zero, zero),
        "decays": jnp.zeros(2, jnp.float32),
        "log_rate": zero,
        "schedule": jnp.zeros(len(FRACTION_CENTRES), jnp.float32),
    }

"""A nominal step with a pace for each tensor, which follows the agreement of successive gradients."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import LearnedOptimizer, Params, Updates, checked_horizon, next_count
from .features import fraction_done, fraction_features
from .layout import Layout
from .pacing import NUM_TIMING_FEATURES, Paces, Pacing, Seen, look
from .per_tensor import Tensors
from .placement import zeros_like
from .sizes import sqrt
from .units import TINY, initial_units, known_units, log_largeness
from .weight_decay import decayed

INITIAL_DECAYS = (0.86, 0.976)
"""Decays of the averages of g and g^2 at the start of meta-training."""
SCHEDULE_POWER, SCHEDULE_FLOOR = 1.3, 0.02
"""The nominal schedule: (1 - t/T)^1.3 + 0.02."""
LARGE_POWERS = (0.5, 0.25)
"""Powers of the numbers of tensors and of inputs that steps shrink with, at the start of meta-training:
fitted to transformers of 16 to 52 tensors and widths of 32 to 128 (docs/meta-training-log.md)."""
MOST_STEP = 0.2
"""The largest step, relative to the tensor's present size, or to its unit if that is larger."""
WEIGHT_DECAY = 0.02
"""The usual shrinkage of weights in runs of up to 500 steps; docs/meta-training-log.md has others."""
COMMON_HORIZON = 500.0
"""The length of a run whose feature is 0, and up to which weights shrink by `weight_decay`."""


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
    masses: Float[Array, "2"]
    """Sums of the weights of all gradients in the two averages."""
    scale: Float[Array, " tensors"]
    """Unit of each tensor's steps; 0 for a tensor that started at zero until its first nonzero gradient."""
    paces: Paces


class Paced(LearnedOptimizer):
    """A nominal step times a pace for each tensor that is adapted online.

    With a nominal direction a, the unit S of a tensor, the length T of the run and its fraction t/T:

        update = -step_scale N S (max(1 - t/T, 0)^1.3 + 0.02) exp(2 (c + w . f)) exp(r + tanh(q1)) a
        r <- (1 - leak) r + leak k log(max(s / S, 1)) + gain b exp(2 q2) tanh(sharpness (h - target) + 2 q0)

    N is less than 1 for networks of many tensors or wide ones: (8 / n)^(1/2) (32 / w)^(1/4) for n tensors
    whose matrices have w inputs, by the geometric mean; n is at least 8, w at least 32, and the powers are
    learned. A network moves by the sum of what its tensors do, and an entry of a product by the sum over its
    inputs, so steps that suit a small network are too large for it. f are nine functions of t/T, and
    log(T/500) / 2. r is the logarithm of the tensor's pace. h is an average of the cosine between the
    gradient and the step before (without its sign): positive while successive steps go the same way, which
    says that they are too short, and negative when they overshoot, as in hypergradient descent, but free of
    the scales of parameters and loss. b is 1, and more while a slower average of the cosine is far from 0. So
    a tensor whose size at the start says little about the steps that it needs (an embedding, or weights that
    start small) finds its pace within tens of steps. s is the tensor's present size: a pace that nothing
    pushes does not return to 1 but to the power k of the tensor's growth (k is 0.5 at the start of
    meta-training), so that steps stay in proportion to weights that had to grow far. q0, q1 and q2 are the
    outputs of a network for each tensor, with a hidden layer and a connection past it, which sees f, both
    averages of the cosine and their mean over all tensors, the pace, the tensor's growth, how clear its
    gradient is of noise, and whether it is a matrix, a vector or an embedding.

    No step is larger than a fifth of the tensor's size, or of its unit. Weights (matrices and embeddings)
    also shrink, by `weight_decay` / N times the step's size relative to theirs: decoupled weight decay that,
    like the steps, doesn't depend on how large weights are, nor, unlike them, on the size of the network. In
    runs of more than 500 steps it is divided by (T/500)^(1/4), because what weights lose in all grows with
    the number of steps.

    The decays of the averages of g and g^2 change over the run, and with its length: log(1 - decay) is linear
    in t/T and log(T/500). The weight of the newest gradient in the direction is learned, too. Nothing is
    computed by a network per parameter, so an update costs little more than Adam's.

    References: Baydin et al. 2018 (arXiv 1703.04782), for the adaptation of rates by the products of
        successive gradients; Ma and Yarats 2019 (arXiv 1810.06801), for the weight of the newest gradient.
    """

    needs_horizon: ClassVar[bool] = True
    stacks: ClassVar[bool]
    """Whether equal tensors run together."""

    pacing: Pacing
    decays: Float[Array, "2 3"]
    newest: Float[Array, ""]
    log_rate: Float[Array, ""]
    schedule: Float[Array, "10"]
    large: Float[Array, "2"]
    step_scale: float = struct.field(pytree_node=False, default=0.157, kw_only=True)
    """The size of a step of pace 1 at the start of the run, in units."""
    weight_decay: float = struct.field(pytree_node=False, default=WEIGHT_DECAY, kw_only=True)
    """Shrinkage of weights in short runs, relative to the relative sizes of their steps; 0 for none."""

    @abc.abstractmethod
    def direction(self, adam: Array, ahead: Array, layout: Layout) -> Array:
        """Return the nominal direction of a tensor.

        Args:
            adam: Adam's direction, with Nesterov's momentum.
            ahead: the bias-corrected average of the gradient that it is made of.
            layout: the roles of the tensor's axes.
        """

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> PacedState:
        """Measure the parameters' sizes and remember the horizon.

        Raises:
            UsageError: if the horizon is missing or not a whole number of at least 1.
        """
        tensors = Tensors(params, self.layout)
        unit = initial_units(tensors)
        zeros = lambda param, layout: Averages(zeros_like(param), zeros_like(param))  # noqa: E731
        return PacedState(
            count=jnp.zeros((), jnp.int32),
            horizon=checked_horizon(horizon, type(self).__name__),
            averages=tensors.start(zeros, AVERAGES),
            masses=jnp.zeros(2, jnp.float32),
            scale=unit,
            paces=self.pacing.start(unit),
        )

    def update(
        self, grads: Updates, state: PacedState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, PacedState]:
        """Adapt the paces, and return nominal steps at these; the loss is not used."""
        tensors = Tensors(params, self.layout, grads, stack=self.stacks)
        scale = known_units(state.scale, tensors)
        fraction = fraction_done(state.count, state.horizon)
        length = jnp.log(state.horizon.astype(jnp.float32) / COMMON_HORIZON) / 2
        timing = jnp.append(fraction_features(fraction), length)
        old = tensors.states(state.averages, AVERAGES)
        seen = tensors.gather(tensors.map(_look, tensors.grads, tensors.params, old), len(Seen._fields))
        now = Seen(*seen.T)
        paces, instant = self.pacing.follow(state.paces, now, state.count, scale, timing, state.masses)
        decays = self._decays(fraction, length)
        masses = decays * state.masses + (1 - decays)
        share = self._share(tensors)
        rate = self.step_scale * share * self._schedule(fraction, timing)
        step = rate * scale * jnp.exp(paces.log_pace + instant)
        size = jnp.maximum(now.size, scale)
        step = jnp.minimum(step, MOST_STEP * size)
        # What weights lose in all grows with the number of steps, but steps are smaller in large networks.
        weaker = jnp.exp(-jnp.maximum(length, 0.0) / 2) / share
        shrinking = (now.is_matrix + now.is_embedding) * step / (size + TINY) * weaker
        values = tensors.spread(step), tensors.spread(shrinking)
        updates, averages = tensors.apply(self._rule(decays, masses), state.averages, AVERAGES, *values)
        return updates, PacedState(next_count(state.count), state.horizon, averages, masses, scale, paces)

    def _rule(self, decays: Float[Array, "2"], masses: Float[Array, "2"]) -> Any:
        """Return the function that makes one tensor's update and its next averages."""
        newest = jnp.clip((1 - decays[0]) * jnp.exp(4 * self.newest), 0, 1)
        mass = (1 - newest) * masses[0] + newest

        def rule(
            layout: Layout, grad: Array, param: Array, averages: Averages, step: Array, shrinking: Array
        ) -> Any:
            first = decays[0] * averages.momentum + (1 - decays[0]) * grad
            second = decays[1] * averages.second + (1 - decays[1]) * jnp.square(grad)
            ahead = ((1 - newest) * first + newest * grad) / mass
            adam = ahead / (sqrt(second / masses[1]) + 1e-8)
            update = -step * self.direction(adam, ahead, layout)
            return decayed(update, param, shrinking, self.weight_decay), Averages(first, second)

        return rule

    def _decays(self, fraction: Float[Array, ""], length: Float[Array, ""]) -> Float[Array, "2"]:
        terms = jnp.stack([jnp.ones((), jnp.float32), fraction, length])
        return jnp.clip(
            1 - jnp.exp(jnp.log1p(-jnp.float32(INITIAL_DECAYS)) + 4 * self.decays @ terms), 0, 0.9999
        )

    def _share(self, tensors: Tensors) -> Float[Array, ""]:
        """Return the factor of all steps by the size of the network: 1 for small ones."""
        powers = jnp.float32(LARGE_POWERS) * jnp.exp(4 * self.large)
        return jnp.exp(-jnp.sum(powers * log_largeness(tensors)))

    def _schedule(self, fraction: Array, timing: Array) -> Float[Array, ""]:
        nominal = (1 - fraction) ** SCHEDULE_POWER + SCHEDULE_FLOOR
        return nominal * jnp.exp(2 * (self.log_rate + self.schedule @ timing))


def _look(layout: Layout, grad: Array, param: Array, averages: Averages) -> Float[Array, " seen"]:
    return look(layout, grad, param, averages.momentum, averages.second)


def initial_theta(key: Key[Array, ""]) -> dict[str, Any]:
    """Return what all paced rules learn: the first layer of the paces' network is drawn, all else is zero."""
    zero = jnp.zeros((), jnp.float32)
    return {
        "pacing": Pacing.create(key),
        "decays": jnp.zeros((2, 3), jnp.float32),
        "newest": zero,
        "log_rate": zero,
        "schedule": jnp.zeros(NUM_TIMING_FEATURES, jnp.float32),
        "large": jnp.zeros(2, jnp.float32),
    }

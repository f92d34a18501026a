"""The pace of each tensor, which a controller and a small network adapt to the agreement of its steps."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .features import FRACTION_CENTRES
from .layout import Layout
from .learned_rates import kind_of
from .mlp import Layer, init_layers, linear
from .sizes import means, sqrt
from .units import TINY

AGREEMENT_DECAYS = (0.75, 0.95)
"""Decays of the averages of the agreement; the pace follows the first."""
START, GAIN, SHARPNESS, TARGET, LEAK = 0.33, 0.026, 3.5, -0.08, 0.007
"""The controller at the start of meta-training: the pace of the first step; the usual bound of a change of a
pace's logarithm in a step; how fast that is reached; the agreement at which a pace stays; and the share of
the way to its rest that a pace's logarithm goes in a step."""
LASTING, HURRY, BRAKE = 0.16, 40.0, 12.0
"""The slow average of the agreement above which, or below minus which, that bound grows; and its growth per
unit of agreement, above and below."""
MOST_BOUND = 8.0
"""The largest such growth: where all gradients agree, a pace doubles in three to four steps."""
GROWTH = 0.5
"""Where a pace that nothing pushes rests: at this power of the tensor's growth."""
MOST_LOG_PACE = 9.0
NUM_TIMING_FEATURES = len(FRACTION_CENTRES) + 1
NUM_TENSOR_FEATURES = 9
HIDDEN_SIZE = 8


class Controller(NamedTuple):
    """How paces change; part of theta, as offsets that start at 0."""

    start: Float[Array, ""]
    gain: Float[Array, "3"]
    """Of a change's usual bound, and of its growth above and below."""
    sharpness: Float[Array, ""]
    target: Float[Array, ""]
    leak: Float[Array, ""]
    growth: Float[Array, ""]
    """Of the power of a tensor's growth at which its pace rests."""


class Paces(NamedTuple):
    """The paces of all tensors; part of a state."""

    log_pace: Float[Array, " tensors"]
    agreement: Float[Array, "tensors 2"]
    """Moving averages of the cosine between the gradient and the step before."""


class Seen(NamedTuple):
    """What the paces depend on, of each tensor before a step."""

    cosine: Float[Array, " tensors"]
    """Between the gradient and the step before, without its sign."""
    is_moving: Float[Array, " tensors"]
    """1 where the gradient is not zero."""
    size: Float[Array, " tensors"]
    """Root mean square of the parameters."""
    clear: Float[Array, " tensors"]
    """Mean of the squared average of g over the average of g^2; 0 before the first step."""
    is_matrix: Float[Array, " tensors"]
    is_vector: Float[Array, " tensors"]
    is_embedding: Float[Array, " tensors"]


def look(layout: Layout, grad: Array, param: Array, first: Array, second: Array) -> Float[Array, " seen"]:
    """Return what `Seen` holds of one tensor.

    Args:
        layout: the roles of its axes.
        grad: its gradient.
        param: its value.
        first: average of earlier g.
        second: average of earlier g^2.
    """
    before = first / (sqrt(second) + TINY)
    product, slope, length, size = means(
        [grad * before, jnp.square(grad), jnp.square(before), jnp.square(param)]
    )
    kind = kind_of(layout, grad.shape)
    seen = Seen(
        cosine=product / (sqrt(slope) * sqrt(length) + TINY),
        is_moving=(slope > 0).astype(jnp.float32),
        size=sqrt(size),
        clear=length,
        is_matrix=jnp.float32(kind == "matrix"),
        is_vector=jnp.float32(kind in ("vector", "scalar")),
        is_embedding=jnp.float32(kind == "embedding"),
    )
    return jnp.stack(seen)


class Pacing(struct.PyTreeNode):
    """Learned paces. See `Paced` for the formula."""

    network: tuple[Layer, Layer]
    direct: Float[Array, "features 3"]
    """Its connection from the features straight to the outputs."""
    controller: Controller

    @classmethod
    def create(cls, key: Key[Array, ""]) -> Pacing:
        """Draw the network's first layer; everything else starts at zero."""
        features = NUM_TIMING_FEATURES + NUM_TENSOR_FEATURES
        first, last = init_layers(key, (features, HIDDEN_SIZE, 3))
        zero = jnp.zeros((), jnp.float32)
        controller = Controller(zero, jnp.zeros(3, jnp.float32), zero, zero, zero, zero)
        direct = jnp.zeros((features, 3), jnp.float32)
        return cls((first, jax.tree.map(jnp.zeros_like, last)), direct, controller)

    def start(self, like: Float[Array, " tensors"]) -> Paces:
        """Return the paces before the first step, of as many tensors."""
        log_pace = jnp.log(jnp.float32(START)) + 4 * self.controller.start
        zeros = jnp.zeros_like(like)
        return Paces(zeros + log_pace, zeros[:, None] * jnp.zeros((1, 2), jnp.float32))

    def follow(
        self,
        paces: Paces,
        seen: Seen,
        count: Int[Array, ""],
        scale: Float[Array, " tensors"],
        timing: Float[Array, "10"],
        masses: Float[Array, "2"],
    ) -> tuple[Paces, Float[Array, " tensors"]]:
        """Return the next paces, and the logarithm of a further factor for this step.

        Args:
            paces: those of the step before.
            seen: what is seen before the step.
            count: steps done so far.
            scale: the tensors' units.
            timing: features of the run: its progress and its length.
            masses: the sums of the weights of the gradients in the averages that `seen.clear` is made of.
        """
        moves = seen.is_moving > 0
        kept = jnp.where(moves[:, None], jnp.float32(AGREEMENT_DECAYS)[None], 1.0)
        agreement = kept * paces.agreement + (1 - kept) * seen.cosine[:, None]
        # Averages of few terms count for what they are.
        past = jnp.maximum(count.astype(jnp.float32), 1.0)
        known = agreement / (1 - jnp.float32(AGREEMENT_DECAYS) ** past)[None]
        growth = jnp.log(seen.size / jnp.maximum(scale, TINY) + 1e-3)
        # Of independent gradients, the average that momentum is has about a twentieth of a gradient's square.
        masses = jnp.where(count > 0, masses, 1.0)
        clear = jnp.log10(seen.clear * masses[1] / jnp.square(masses[0]) + 1e-3) + 1
        own = [
            *jnp.moveaxis(known, 1, 0),
            jnp.tanh(paces.log_pace / 3),
            jnp.tanh(growth),
            jnp.where(count > 0, clear, 0.0),
            *(seen.is_matrix, seen.is_vector, seen.is_embedding),
        ]
        overall = jnp.mean(known[:, 1]) if known.shape[0] else jnp.zeros((), jnp.float32)
        moved, instant, eager = self._run(jnp.concatenate([timing, overall[None]]), jnp.stack(own, axis=1))
        change = jnp.where(moves & (count > 0), self._change(known, moved, eager), 0.0)
        leak = LEAK * jnp.exp(4 * self.controller.leak)
        # A tensor that grew many times started smaller than its steps should be. Its unit doesn't follow its
        # size, because steps and size could then make each other grow exponentially; a power below 1 can't.
        rest = (GROWTH + 2 * self.controller.growth) * jnp.where(scale > TINY, jnp.maximum(growth, 0.0), 0.0)
        log_pace = (1 - leak) * paces.log_pace + leak * rest + change
        log_pace = jnp.clip(log_pace, -MOST_LOG_PACE, MOST_LOG_PACE)
        return Paces(log_pace, agreement), jnp.tanh(instant)

    def _run(
        self, of_all: Float[Array, " common"], own: Float[Array, "tensors own"]
    ) -> Float[Array, "3 tensors"]:
        """Return the network's outputs for each tensor."""
        rows = jnp.broadcast_to(of_all[None], (own.shape[0], of_all.shape[0]))
        features = jnp.concatenate([rows, own], axis=1)
        hidden = jnp.tanh(linear(self.network[0], features))
        return (linear(self.network[1], hidden) + features @ self.direct).T

    def _change(
        self,
        known: Float[Array, "tensors 2"],
        moved: Float[Array, " tensors"],
        eager: Float[Array, " tensors"],
    ) -> Float[Array, " tensors"]:
        """Return what is added to the logarithms of paces."""
        c = self.controller
        push = SHARPNESS * jnp.exp(4 * c.sharpness) * (known[:, 0] - TARGET - c.target / 2) + 2 * moved
        above, below = jnp.maximum(known[:, 1] - LASTING, 0), jnp.maximum(-known[:, 1] - LASTING, 0)
        gain, hurry, brake = jnp.float32([GAIN, HURRY, BRAKE]) * jnp.exp(4 * c.gain)
        bound = jnp.minimum(1 + hurry * above + brake * below, MOST_BOUND)
        return gain * jnp.exp(2 * eager) * bound * jnp.tanh(push)

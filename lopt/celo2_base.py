"""Celo2Base: a network per parameter whose steps have the same size in every tensor and at every time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .accumulators import (
    MOMENTS,
    Decays,
    Moments,
    factored_axes,
    factors,
    initial_decays,
    update_moments,
)
from .base import LearnedOptimizer, Params, Updates, checked_horizon, next_count
from .features import Features, by_decay, fraction_done, means_of_planes, project
from .layout import Layout
from .mlp import Layer, apply_layers, init_layers
from .per_tensor import Tensors
from .registry import register
from .relative_mlp import AXIS_ORDER, LARGEST_GRADIENT, start_moments
from .sizes import mean_square
from .weight_decay import decayed

Tensor = Float[Array, "..."]

NUM_FEATURES = 30
SECOND_DECAY = 0.95
_NORM_EPS = 1e-9


class Celo2State(NamedTuple):
    """State of `Celo2Base` and `Celo2`."""

    count: Int[Array, ""]
    """Updates done so far."""
    moments: Moments
    """Trees of moving averages."""
    horizon: Int[Array, ""] | None = None
    """Length of the run where steps shrink along it."""


@register("celo2-base")
class Celo2Base(LearnedOptimizer):
    """Celo2's network for every tensor: steps of root mean square 1, times a rate that is the user's.

    30 features, each divided by its root mean square, go into two layers of ReLU units, which write a
    direction; that is divided by its root mean square, too. These means are taken over a tensor's last two
    axes: any before them count as a stack of matrices. The features are g, g clipped to 0.1, p, averages m of
    g (decays .9, .99, .999), v of g^2 (decay .95), m / sqrt(v), 1 / sqrt(v), g over Adafactor's factored root
    at three decays, g / sqrt(v), and, from rank 2 on, the factored averages, their inverse roots, and m over
    the factored root. Gradients are clipped to 1,000 at first.

        update = -step_scale (direction / rms(direction) + weight_decay p)

    It is not free of hyperparameters: `step_scale` is the learning rate, to be tuned with the weight decay
    and chained with a schedule: `optax.chain(lopt.as_optax(rule), optax.scale_by_schedule(schedule))`.
    With `cosine`, steps are multiplied by (1 + cos(pi t / horizon)) / 2, so that a rule is meta-trained as it
    will be used. Theta has 329 entries at the default size; the original's further outputs had no effect.

    References: Moudgil, Knyazev, Belilovsky 2026, Celo2: Towards learned optimization free lunch
        (arXiv 2602.19142).
    """

    layers: tuple[Layer, ...]
    hidden_size: int = struct.field(pytree_node=False, default=8)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    step_scale: float = struct.field(pytree_node=False, default=1e-3)
    weight_decay: float = struct.field(pytree_node=False, default=0.0)
    cosine: bool = struct.field(pytree_node=False, default=False)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        hidden_size: int = 8,
        hidden_layers: int = 2,
        step_scale: float = 1e-3,
        weight_decay: float = 0.0,
        cosine: bool = False,
    ) -> Self:
        """Draw the network's weights."""
        return cls(
            layers=init_layers(key, layer_sizes(hidden_size, hidden_layers)),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            step_scale=step_scale,
            weight_decay=weight_decay,
            cosine=cosine,
        )

    @property
    def needs_horizon(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether steps shrink along the run."""
        return self.cosine

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> Celo2State:
        """Return zero moments, and the horizon where steps shrink along it."""
        moments = start_moments(Tensors(params, self.layout))
        return Celo2State(jnp.zeros((), jnp.int32), moments, horizon_of_cosine(self, horizon))

    def update(
        self, grads: Updates, state: Celo2State, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, Celo2State]:
        """Return the network's steps; the loss is not used."""
        decays = fixed_decays()
        rate = self.step_scale * share_of_rate(state)

        def rule(_: Layout, grad: Array, param: Array, moments: Moments) -> tuple[Array, Moments]:
            values, moments = features(grad, param, moments, decays)
            direction = matrix_by_matrix(functools.partial(unit_step, self.layers), values, grad.shape)
            return decayed(-rate * direction, param, rate, self.weight_decay), moments

        updates, moments = Tensors(params, self.layout, grads).apply(rule, state.moments, MOMENTS)
        return updates, state._replace(count=next_count(state.count), moments=moments)


def horizon_of_cosine(rule: LearnedOptimizer, horizon: Int[Array, ""] | int | None) -> Int[Array, ""] | None:
    """Return the length of a run where the rule's steps shrink along it, and otherwise None.

    Raises:
        UsageError: when they do and the horizon is missing, or no whole number from 1.
    """
    return checked_horizon(horizon, type(rule).__name__) if rule.needs_horizon else None


def share_of_rate(state: Celo2State) -> Float[Array, ""] | float:
    """Return what the learning rate is multiplied by at this step: 1 where steps do not shrink."""
    if state.horizon is None:
        return 1.0
    return (1 + jnp.cos(jnp.pi * fraction_done(state.count, state.horizon))) / 2


def layer_sizes(hidden_size: int, hidden_layers: int) -> tuple[int, ...]:
    """Return the units of the network's input and of each layer after it."""
    return (NUM_FEATURES, *[hidden_size] * hidden_layers, 1)


def fixed_decays() -> Decays:
    """Return the decays of the moments, which are not learned."""
    return initial_decays()._replace(second=jnp.asarray(SECOND_DECAY, jnp.float32))


def features(
    grad: Tensor, param: Tensor, moments: Moments, decays: Decays
) -> tuple[tuple[Tensor, ...], Moments]:
    """Return a tensor's features, the last 15 from rank 2 on, and its moments after this gradient.

    The features are not normalised, and have size 1 along the axes that they don't depend on.
    """
    grad = jnp.clip(grad, -LARGEST_GRADIENT, LARGEST_GRADIENT)
    moments = update_moments(moments, grad, decays, AXIS_ORDER)
    inverse_root = jax.lax.rsqrt(moments.second + 1e-8)
    known = (
        *(grad, jnp.clip(grad, -0.1, 0.1), param, *moments.momentum, moments.second),
        *[m * inverse_root for m in moments.momentum],
        inverse_root,
    )
    axes = factored_axes(grad.shape, AXIS_ORDER)
    if axes is None:
        full = jax.lax.rsqrt(jnp.maximum(moments.col + 1e-9, 1e-9))
        return (*known, *[grad * root for root in by_decay(full)], grad * inverse_root), moments
    rows, cols = factors(moments, axes)
    roots = [r * c for r, c in zip(by_decay(rows), by_decay(cols), strict=True)]
    averages = (moments.row, moments.col)
    return (
        *known,
        *[grad * root for root in roots],
        grad * inverse_root,
        *[thin for x in averages for thin in by_decay(x)],
        *[thin for x in averages for thin in by_decay(jax.lax.rsqrt(x + 1e-8))],
        *[m * root for m, root in zip(moments.momentum, roots, strict=True)],
    ), moments


def matrix_by_matrix(
    function: Callable[..., Tensor], values: tuple[Tensor, ...], shape: tuple[int, ...]
) -> Tensor:
    """Apply a function of features to each matrix that a tensor's last two axes make.

    Args:
        function: maps arrays of at most two axes to one of the matrix's shape.
        values: features, with size 1 along any axes.
        shape: the tensor's.
    """
    stacked = shape[:-2]
    values = tuple(jnp.broadcast_to(value, (*stacked, *value.shape[len(stacked) :])) for value in values)
    for _ in stacked:
        function = jax.vmap(function)
    return function(*values)


def unit_step(
    layers: tuple[Layer, ...], *values: Tensor, transform: Callable[[Tensor], Tensor] = lambda step: step
) -> Tensor:
    """Return the network's direction at a root mean square of 1.

    Args:
        layers: the network's.
        *values: features, not normalised.
        transform: what is done with the direction before it is measured.
    """
    first = layers[0]
    seen = Features(values, means_of_planes(tuple(map(jnp.square, values))))
    hidden = project(seen, first["kernel"][: len(values)], first["bias"], _NORM_EPS)
    (direction,) = apply_layers(layers[1:], hidden)
    direction = transform(direction)
    return direction * jax.lax.rsqrt(mean_square(direction) + _NORM_EPS)

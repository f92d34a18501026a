"""Celo2: its base's update made orthogonal for matrices, and AdamW for the rest."""

from __future__ import annotations

import functools
import re
from typing import Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .accumulators import MOMENTS, Moments, init_moments
from .base import LearnedOptimizer, Params, Updates, next_count
from .celo2_base import (
    Celo2State,
    features,
    fixed_decays,
    horizon_of_cosine,
    layer_sizes,
    matrix_by_matrix,
    share_of_rate,
    unit_step,
)
from .errors import UsageError
from .layout import Layout
from .mlp import Layer, init_layers
from .orthogonal import newton_schulz, orthogonalise
from .per_tensor import Tensors
from .placement import divided_like, gathered, zeros_like
from .registry import register
from .relative_mlp import AXIS_ORDER
from .sizes import sqrt
from .weight_decay import decayed

_ADAM_EPS = 1e-8


@register("celo2")
class Celo2(LearnedOptimizer):
    """The rule of `Celo2Base`, orthogonalised, for hidden matrices; AdamW for vectors and embeddings.

        update = -step_scale (direction + weight_decay p)             for matrices
        update = -adam_rate step_scale (m / sqrt(v) + weight_decay p)     for the rest

    The direction of a matrix is what the network of `Celo2Base` writes, with singular values brought near 1
    by five iterations of Newton and Schulz's method, and then divided by its root mean square. m and v are
    averages of g and g^2 with decays .9 and .95, without a correction of their bias.

    What counts as a matrix is said by the layout: what is none, embeddings included, is Adam's; a
    convolution or attention's kernel is one matrix, and its features are normalised over all of it. With
    `adam_names`, names say it, as in the original: what the regular expression finds in a parameter's path
    ("layer_0/bias") is Adam's, and everything else, of whatever rank, goes through the network. A tensor of
    three axes or more is then a stack of matrices, of its last two axes, as in `Celo2Base`.

    It is not free of hyperparameters: `step_scale` is the learning rate, to be tuned with the weight decay
    and chained with a schedule: `optax.chain(lopt.as_optax(rule), optax.scale_by_schedule(schedule))`.
    With `cosine`, steps shrink along the run as in `Celo2Base`. Theta has 329 entries at the default size.

    References: Moudgil, Knyazev, Belilovsky 2026, Celo2: Towards learned optimization free lunch
        (arXiv 2602.19142).
    """

    layers: tuple[Layer, ...]
    hidden_size: int = struct.field(pytree_node=False, default=8)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    step_scale: float = struct.field(pytree_node=False, default=1e-3)
    weight_decay: float = struct.field(pytree_node=False, default=0.0)
    adam_rate: float = struct.field(pytree_node=False, default=20.0)
    adam_names: str | None = struct.field(pytree_node=False, default=None)
    cosine: bool = struct.field(pytree_node=False, default=False)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        hidden_size: int = 8,
        hidden_layers: int = 2,
        step_scale: float = 1e-3,
        weight_decay: float = 0.0,
        adam_rate: float = 20.0,
        adam_names: str | None = None,
        cosine: bool = False,
    ) -> Self:
        """Draw the network's weights.

        Raises:
            UsageError: when `adam_names` is no regular expression.
        """
        return cls(
            layers=init_layers(key, layer_sizes(hidden_size, hidden_layers)),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            step_scale=step_scale,
            weight_decay=weight_decay,
            adam_rate=adam_rate,
            adam_names=_checked_pattern(adam_names),
            cosine=cosine,
        )

    @property
    def needs_horizon(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether steps shrink along the run."""
        return self.cosine

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> Celo2State:
        """Return zero moments, those that each kind of tensor uses, and the horizon where steps shrink."""
        start = {False: functools.partial(init_moments, order=AXIS_ORDER), True: _adam_moments}
        moments = Tensors(params, self.layout, kind=self._is_adams).start(start, MOMENTS)
        return Celo2State(jnp.zeros((), jnp.int32), moments, horizon_of_cosine(self, horizon))

    def update(
        self, grads: Updates, state: Celo2State, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, Celo2State]:
        """Return the network's steps, and AdamW's; the loss is not used."""
        decays = fixed_decays()
        rate = self.step_scale * share_of_rate(state)
        adam_rate = self.adam_rate * rate

        def learned(layout: Layout, grad: Array, param: Array, moments: Moments) -> tuple[Array, Moments]:
            values, moments = features(grad, param, moments, decays)
            if self.adam_names is None:
                direction = unit_step(self.layers, *values, transform=lambda x: orthogonalise(x, layout))
            else:
                step = functools.partial(unit_step, self.layers, transform=_orthogonal)
                direction = matrix_by_matrix(step, values, grad.shape)
            return decayed(-rate * direction, param, rate, self.weight_decay), moments

        def adam(_: Layout, grad: Array, param: Array, moments: Moments) -> tuple[Array, Moments]:
            decay = decays.momentum[0]
            first = decay * moments.momentum[0] + (1 - decay) * grad
            second = decays.second * moments.second + (1 - decays.second) * jnp.square(grad)
            moments = moments._replace(momentum=(first, *moments.momentum[1:]), second=second)
            update = -adam_rate * first * jax.lax.rsqrt(second + _ADAM_EPS)
            return decayed(update, param, adam_rate, self.weight_decay), moments

        tensors = Tensors(params, self.layout, grads, kind=self._is_adams)
        updates, moments = tensors.apply({False: learned, True: adam}, state.moments, MOMENTS)
        return updates, state._replace(count=next_count(state.count), moments=moments)

    def _is_adams(self, names: tuple[str, ...], layout: Layout, shape: tuple[int, ...]) -> bool:
        if self.adam_names is not None:
            return bool(re.search(self.adam_names, "/".join(names)))
        return not layout.is_matrix(shape)


def _adam_moments(param: Array, layout: Layout) -> Moments:
    """Return zero averages of g and g^2, and nothing for the others but their places."""
    zeros = zeros_like(param)
    none = jnp.sum(zeros, [axis for axis in range(param.ndim) if axis not in layout.stacked], keepdims=True)
    return Moments((zeros, none, none), zeros, none, none)


def _orthogonal(step: Float[Array, "..."]) -> Float[Array, "..."]:
    """Orthogonalise a matrix as the original does; vectors stay as they are."""
    if step.ndim < 2:
        return step
    whole = gathered(step)
    return divided_like(newton_schulz(whole / (sqrt(jnp.sum(jnp.square(whole))) + 1e-8)), step)


def _checked_pattern(names: str | None) -> str | None:
    if names is None:
        return None
    try:
        re.compile(names)
    except (re.error, TypeError) as error:
        raise UsageError(f"adam_names should be a regular expression, not {names!r}: {error}") from error
    return names

"""Forecasts of time series by a perceptron over the last values."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import Layers, equal_weights
from ..perceptron import Perceptron, PerceptronInstance, perceptron_family
from ..registry import register
from .series import SERIES, Random

_SEED, _COUNT, _POINTS = 0, 8, 2000
_CONTEXT = 16
_SHARES = (0, 7, 8, 9, 10)
"""Where the splits begin and end in time, in tenths of a series."""


class SeriesInstance(NamedTuple):
    """One member of the family."""

    series: Int[Array, ""]
    """Index into the task's series."""
    perceptron: PerceptronInstance


class SeriesMLP(Task):
    """Predict the value of a series some points ahead from a stretch of it; squared error.

    A member has one of the series. Seven tenths of the time are train; the other splits follow. Values are
    standardised by the train split, and `noise` is added to what is shown and to what is asked.

    Raises:
        UsageError: by `batch`, if a split is too short for a stretch.
    """

    series: Float[Array, "series points"]
    perceptron: Perceptron = struct.field(pytree_node=False, default=Perceptron(_CONTEXT, 1))
    ahead: int = struct.field(pytree_node=False, default=4)
    noise: float = struct.field(pytree_node=False, default=0.05)
    batch_size: int = struct.field(pytree_node=False, default=64)

    def sample(self, key: Key[Array, ""]) -> SeriesInstance:
        """Draw a series and a perceptron."""
        series_key, perceptron_key = jax.random.split(key)
        series = jax.random.randint(series_key, (), 0, self.series.shape[0])
        return SeriesInstance(series, self.perceptron.sample(perceptron_key))

    def init(self, instance: SeriesInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        return self.perceptron.init(instance.perceptron, key)

    def batch(self, instance: SeriesInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw stretches of the series that lie within the split, and the value that follows each."""
        start_key, noise_key = jax.random.split(key)
        number, points = SPLITS.index(split), self.series.shape[1]
        low, high = (points * tenths // 10 for tenths in _SHARES[number : number + 2])
        inputs = self.perceptron.inputs
        stretch = inputs + self.ahead
        if high - low < stretch:
            raise UsageError(f"a tenth of the series must have {stretch} points: make them longer")
        starts = jax.random.randint(start_key, (self.batch_size, 1), low, high - stretch + 1)
        offsets = jnp.append(jnp.arange(inputs, dtype=jnp.int32), inputs - 1 + self.ahead)
        values = self.series.at[instance.series, starts + offsets[None]].get(mode="promise_in_bounds")
        values = values + self.noise * jax.random.normal(noise_key, values.shape)
        return Batch(values[:, :-1], values[:, -1], equal_weights(self.batch_size))

    def loss(
        self, instance: SeriesInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean squared error; predicting the mean has about 1."""
        outputs = self.perceptron.apply(instance.perceptron, params, batch.inputs)[:, 0]
        return batch.weights @ jnp.square(outputs - batch.targets)

    @property
    def ceiling(self) -> float:
        """Twenty times the variance of the targets."""
        return 20.0


@functools.cache
def load_series(kinds: tuple[str, ...] = tuple(SERIES)) -> Float[Array, "series points"]:
    """Make eight standardised series of each kind; later calls return the same array.

    Args:
        kinds: names in `SERIES`.

    Raises:
        UsageError: for an unknown kind, or none.
    """
    unknown = set(kinds) - SERIES.keys()
    if unknown or not kinds:
        raise UsageError(f"series {sorted(unknown)} are unknown; there are {', '.join(SERIES)}")
    # A stream for each kind, so that a series does not depend on which others there are.
    series = np.concatenate([SERIES[kind](Random(_SEED), _COUNT, _POINTS) for kind in kinds])
    train = series[:, : _POINTS * _SHARES[1] // 10]
    series = (series - train.mean(1, keepdims=True)) / train.std(1, keepdims=True)
    # Otherwise a first call inside a traced function would cache that trace's values.
    with jax.ensure_compile_time_eval():
        return jnp.asarray(series, jnp.float32)


def _register(kind: str) -> None:
    @register(f"{kind}-mlp")
    def one() -> Task:
        return SeriesMLP(load_series((kind,)))


for _kind in SERIES:
    _register(_kind)


@register("zero-output-lorenz-mlp")
def zero_output_lorenz_mlp() -> Task:
    """Forecasts of Lorenz's system by two hidden layers, and an output layer that starts at zero."""
    return SeriesMLP(load_series(("lorenz",)), Perceptron(_CONTEXT, 1, depths=(2, 2), output_scale=0.0))


@register("series-mlp-family")
def series_mlp_family() -> Task:
    """Any kind of series; width, depth, activation and initial scale are drawn."""
    return SeriesMLP(load_series(), perceptron_family(_CONTEXT, 1))

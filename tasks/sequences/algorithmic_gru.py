"""A recurrent network that learns an algorithm on sequences of symbols."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import (
    Layers,
    Shapes,
    check_ranges,
    dense,
    dense_shapes,
    draw_index,
    draw_layers,
    draw_whole,
    equal_weights,
    log_uniform,
    share_right,
)
from ..perceptron import live_units
from ..registry import register
from .algorithms import ALGORITHMS, SYMBOLS
from .gated_unit import recurrent_shapes, states


class AlgorithmicInstance(NamedTuple):
    """One member of the family; every entry is a scalar."""

    algorithm: Int[Array, ""]
    """Index into the family's `algorithms`."""
    units: Int[Array, ""]
    initial_scale: Float[Array, ""]


class AlgorithmicGRU(Task):
    """Label the places of drawn sequences as an algorithm does, with a gated recurrent unit over embeddings.

    `copy`, `reverse` and `sort` show a word and ask for it at the blanks that follow; `parity` asks at every
    place for the number of ones so far, modulo 2; `dyck` asks at every place of a balanced word for the
    innermost open bracket. All ranges are inclusive; a member with fewer units masks the last ones. Every key
    gives new sequences, and each split has its own stream of keys.

    References:
        Graves, Wayne and Danihelka 2014, arXiv:1410.5401 (copying, sorting).
        Hewitt et al. 2020, arXiv:2010.07515 (bounded Dyck languages and recurrent networks).

    Raises:
        UsageError: for an empty range, an unknown algorithm, or an odd length.
    """

    algorithms: tuple[str, ...] = struct.field(pytree_node=False, default=tuple(ALGORITHMS))
    units: tuple[int, int] = struct.field(pytree_node=False, default=(24, 24))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    features: int = struct.field(pytree_node=False, default=8)
    length: int = struct.field(pytree_node=False, default=12)
    batch_size: int = struct.field(pytree_node=False, default=32)

    def __post_init__(self) -> None:
        check_ranges(units=self.units, initial_scales=self.initial_scales)
        unknown = set(self.algorithms) - ALGORITHMS.keys()
        if unknown or not self.algorithms:
            raise UsageError(f"algorithms {sorted(unknown)} are unknown; there are {', '.join(ALGORITHMS)}")
        if self.length < 2 or self.length % 2:
            raise UsageError(f"length={self.length} can't hold a word and its answer: give an even number")

    def sample(self, key: Key[Array, ""]) -> AlgorithmicInstance:
        """Draw an algorithm, the number of units and the initial scale."""
        keys = jax.random.split(key, 3)
        return AlgorithmicInstance(
            algorithm=draw_index(keys[0], self.algorithms),
            units=draw_whole(keys[1], self.units),
            initial_scale=log_uniform(keys[2], *self.initial_scales),
        )

    def init(self, instance: AlgorithmicInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        units = self.units[1]
        shapes: Shapes = {
            "symbols": {"embedding": (SYMBOLS, self.features)},
            **recurrent_shapes(self.features, units),
            "output": dense_shapes(units, SYMBOLS),
        }
        layers = draw_layers(key, shapes)
        live = live_units(self.units, instance.units)
        # The kernels were drawn for the largest fan in, but only some units are in use.
        wider = jnp.sqrt(units / instance.units) * instance.initial_scale
        gates = jnp.tile(live, 3)[None]
        layers["inputs"]["kernel"] *= instance.initial_scale * gates
        layers["recurrence"]["kernel"] *= wider * live[:, None] * gates
        layers["output"]["kernel"] *= wider * live[:, None]
        return layers

    def batch(self, instance: AlgorithmicInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw sequences, and label them; a place without a label has -1."""
        key = jax.random.fold_in(key, SPLITS.index(split))
        draws = jax.random.randint(key, (self.batch_size, self.length), 0, SYMBOLS - 1)
        functions = [ALGORITHMS[name] for name in self.algorithms]
        if len(functions) == 1:
            inputs, targets = functions[0](draws)
        else:
            inputs, targets = jax.lax.switch(instance.algorithm, functions, draws)
        return Batch(inputs, targets, equal_weights(self.batch_size))

    def loss(
        self, instance: AlgorithmicInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross-entropy in nats per label."""
        losses = optax.softmax_cross_entropy_with_integer_labels(
            self._logits(instance, params, batch), jnp.maximum(batch.targets.T, 0)
        )
        return jnp.sum(losses * _shares(batch))

    def accuracy(
        self, instance: AlgorithmicInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the share of labels that are predicted correctly."""
        return share_right(self._logits(instance, params, batch), batch.targets.T, _shares(batch))

    @property
    def ceiling(self) -> float:
        """Four times the loss of guessing, in nats."""
        return 4 * math.log(SYMBOLS)

    def _logits(
        self, instance: AlgorithmicInstance, params: Layers, batch: Batch
    ) -> Float[Array, "length rows symbols"]:
        embedded = params["symbols"]["embedding"][batch.inputs.T]
        return dense(params["output"], states(params, embedded, live_units(self.units, instance.units)))


def _shares(batch: Batch) -> Float[Array, "length rows"]:
    """Return the weight of each place in the mean; they sum to 1."""
    labelled = (batch.targets.T >= 0).astype(jnp.float32)
    return labelled * (batch.weights / jnp.sum(labelled, axis=0))[None]


def _register(algorithm: str, name: str) -> None:
    @register(name)
    def one() -> Task:
        return AlgorithmicGRU((algorithm,))


for _algorithm, _name in zip(ALGORITHMS, ("copying", "reversing", "sorting", "parity", "dyck"), strict=True):
    _register(_algorithm, f"{_name}-gru")


@register("algorithmic-gru-family")
def algorithmic_gru_family() -> Task:
    """Any of the algorithms, with 12 to 24 units and a drawn initial scale."""
    return AlgorithmicGRU(units=(12, 24), initial_scales=(0.7, 1.4))

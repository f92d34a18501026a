"""The weights of a small learned optimizer, trained through a short run on random quadratics."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Task
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import Layers, check_ranges, equal_weights, log_uniform
from ..perceptron import Perceptron, PerceptronInstance, perceptron_family
from ..registry import register

_FEATURES = 3
_RATE, _MEMORY = 0.1, 0.8
_TINY = 1e-12


class RuleInstance(NamedTuple):
    """What the rule is trained on, and the rule's network."""

    condition: Float[Array, ""]
    """Factor over which the inner problems' coordinates are scaled."""
    perceptron: PerceptronInstance


class InnerProblems(NamedTuple):
    """Quadratics |factors * stretch * x|^2 / (2 dimension), one for each row."""

    factors: Float[Array, "rows dimension dimension"]
    spread: Float[Array, "rows dimension"]
    """Stretch of each coordinate, as an exponent of the instance's condition."""
    starts: Float[Array, "rows dimension"]
    weights: Float[Array, " rows"]
    """Weight of each row in the mean; they sum to 1."""


class LearnedRule(Task):
    """Learn an update rule: a perceptron of each coordinate's gradient and of its mean over time.

    Both are divided by their common size over coordinates, which is the third input. The rule steps by
    -0.1 * direction * exp(size), from its two outputs, `steps` times on each of a batch's random quadratics.
    The meta-loss is the mean over steps and quadratics of log2(1 + f / f_0), where f_0 is the value at the
    start: 1 for a rule that does nothing, 0 for one that is done at once. Its gradient goes through the whole
    inner run. The scales of a quadratic's coordinates differ by up to a factor of `condition`, log-uniform
    over `conditions`. Every key gives new quadratics, and each split has its own stream of keys.

    References:
        Andrychowicz et al. 2016, arXiv:1606.04474; Metz et al. 2020, arXiv:2009.11243 (direction and size).

    Raises:
        UsageError: for an empty range, a condition below 1, or a network of other sizes.
    """

    conditions: tuple[float, float] = struct.field(pytree_node=False, default=(3.0, 3.0))
    perceptron: Perceptron = struct.field(
        pytree_node=False, default=Perceptron(_FEATURES, 2, (8, 8), activations=("tanh",))
    )
    dimension: int = struct.field(pytree_node=False, default=4)
    steps: int = struct.field(pytree_node=False, default=8)
    batch_size: int = struct.field(pytree_node=False, default=8)

    def __post_init__(self) -> None:
        check_ranges(conditions=self.conditions)
        if self.conditions[0] < 1:
            raise UsageError(f"conditions={self.conditions} are ratios of sizes: give at least 1")
        if (self.perceptron.inputs, self.perceptron.outputs) != (_FEATURES, 2):
            raise UsageError(
                f"a rule maps {_FEATURES} features to two numbers: give Perceptron({_FEATURES}, 2)"
            )

    def sample(self, key: Key[Array, ""]) -> RuleInstance:
        """Draw a condition and a network."""
        condition_key, perceptron_key = jax.random.split(key)
        condition = log_uniform(condition_key, *self.conditions)
        return RuleInstance(condition, self.perceptron.sample(perceptron_key))

    def init(self, instance: RuleInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        return self.perceptron.init(instance.perceptron, key)

    def batch(self, instance: RuleInstance, key: Key[Array, ""], split: Split) -> InnerProblems:
        """Draw quadratics and where they start."""
        normal_key, spread_key = jax.random.split(jax.random.fold_in(key, SPLITS.index(split)))
        rows, size = self.batch_size, self.dimension
        draws = jax.random.normal(normal_key, (rows, size, size + 1))
        spread = jax.random.uniform(spread_key, (rows, size), minval=-0.5, maxval=0.5)
        return InnerProblems(draws[:, :, :size], spread, draws[:, :, size], equal_weights(rows))

    def loss(
        self, instance: RuleInstance, params: Layers, batch: InnerProblems, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the meta-loss."""
        factors = batch.factors * (instance.condition**batch.spread)[:, None]

        def value_and_gradient(x: Float[Array, "rows d"]) -> tuple[Array, Array]:
            image = jnp.einsum("rij,rj->ri", factors, x) / math.sqrt(self.dimension)
            gradient = jnp.einsum("rij,ri->rj", factors, image) / math.sqrt(self.dimension)
            return jnp.sum(jnp.square(image), axis=1) / 2, gradient

        def step(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], Array]:
            x, mean, gradient = carry
            mean = _MEMORY * mean + (1 - _MEMORY) * gradient
            outputs = self.perceptron.apply(instance.perceptron, params, _features(gradient, mean))
            x = x - _RATE * outputs[..., 0] * jnp.exp(outputs[..., 1])
            value, gradient = value_and_gradient(x)
            return (x, mean, gradient), value

        first, gradient = value_and_gradient(batch.starts)
        values = jax.lax.scan(step, (batch.starts, jnp.zeros_like(gradient), gradient), length=self.steps)[1]
        ratios = values / first[None]
        return jnp.mean(jnp.log1p(ratios), axis=0) @ batch.weights / math.log(2)

    @property
    def ceiling(self) -> float:
        """The meta-loss of a rule that makes values a thousand times as large."""
        return 10.0


def _features(gradient: Float[Array, "rows d"], mean: Float[Array, "rows d"]) -> Float[Array, "rows d 3"]:
    """Return the inputs of the rule for every coordinate: none is large, so that no rule explodes at once."""
    square = jnp.mean(jnp.square(gradient) + jnp.square(mean), axis=1, keepdims=True) + _TINY
    size = jnp.broadcast_to((square - 1) / (square + 1), gradient.shape)
    return jnp.stack([gradient * jax.lax.rsqrt(square), mean * jax.lax.rsqrt(square), size], axis=-1)


register("learned-rule")(LearnedRule)


@register("learned-rule-family")
def learned_rule_family() -> Task:
    """Well and badly scaled inner problems; the rule's width, activation and scale are drawn."""
    return LearnedRule((1.0, 10.0), perceptron_family(_FEATURES, 2, widths=(4, 12), depths=(1, 1)))

"""Classic landscapes, moved, turned and stretched at random; the smallest value is known to be 0."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Task
from ..data.prepared import Split
from ..errors import UsageError
from ..layers import check_ranges, draw_index, log_uniform
from ..registry import register
from .classic import CLASSICS, repeat


class LandscapeInstance(NamedTuple):
    """One landscape: the function at centre + radius * (rotation @ (stretches * (x - origin)))."""

    function: Int[Array, ""]
    """Index into the family's `functions`."""
    rotation: Float[Array, "dimension dimension"]
    stretches: Float[Array, " dimension"]
    """Size of a step along each parameter, in units of the region where runs start."""
    origin: Float[Array, " dimension"]


class Landscape(Task):
    """Minimise a classic function of parameters that are moved, turned and stretched.

    The value is divided by its mean over the places where runs start, so that it starts at about 1; the
    minimum is 0. Runs start uniformly in the function's usual region, which has a size of about 1 in the
    parameters: it is divided by a number that is log-uniform over `stretches`, and, for each parameter, by
    one that is log-uniform over a factor of `condition` around 1. There are no data and no noise.

    Raises:
        UsageError: for an unknown function, an empty range, or a dimension that does not fit a function.
    """

    functions: tuple[str, ...] = struct.field(pytree_node=False, default=tuple(CLASSICS))
    dimension: int = struct.field(pytree_node=False, default=10)
    stretches: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    condition: float = struct.field(pytree_node=False, default=1.0)
    rotated: bool = struct.field(pytree_node=False, default=False)

    def __post_init__(self) -> None:
        check_ranges(stretches=self.stretches)
        unknown = set(self.functions) - CLASSICS.keys()
        if unknown or not self.functions:
            raise UsageError(f"functions {sorted(unknown)} are unknown; there are {', '.join(CLASSICS)}")
        if not 1 <= self.condition < math.inf:
            raise UsageError(f"condition={self.condition} is a ratio of sizes: give at least 1")
        pairs = [name for name in self.functions if self.dimension % CLASSICS[name].period]
        if self.dimension < 2 or pairs:
            raise UsageError(f"dimension={self.dimension} does not fit {self.functions}: give an even number")

    def sample(self, key: Key[Array, ""]) -> LandscapeInstance:
        """Draw the function, the rotation, the stretches and a normal origin."""
        keys = jax.random.split(key, 5)
        spread = jax.random.uniform(keys[2], (self.dimension,), minval=-0.5, maxval=0.5)
        rotation = jax.random.orthogonal(keys[1], self.dimension) if self.rotated else jnp.eye(self.dimension)
        return LandscapeInstance(
            function=draw_index(keys[0], self.functions),
            rotation=rotation,
            stretches=log_uniform(keys[3], *self.stretches) * self.condition**spread,
            origin=jax.random.normal(keys[4], (self.dimension,)),
        )

    def init(self, instance: LandscapeInstance, key: Key[Array, ""]) -> dict[str, Array]:
        """Draw a place in the region where runs of this function start."""
        place = jax.random.uniform(key, (self.dimension,), minval=-1.0)
        return {"x": instance.origin + (place @ instance.rotation) / instance.stretches}

    def batch(self, instance: LandscapeInstance, key: Key[Array, ""], split: Split) -> tuple[()]:
        """Return nothing: there are no data."""
        return ()

    def loss(
        self, instance: LandscapeInstance, params: dict[str, Array], batch: tuple[()], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the function's value in units of its mean at the start."""
        place = instance.rotation @ (instance.stretches * (params["x"] - instance.origin))
        values = [_value(name, place) for name in self.functions]
        # All are computed under vmap, whichever are chosen: they are a few operations each.
        return values[0] if len(values) == 1 else jnp.stack(values)[instance.function]

    def minimum(self, instance: LandscapeInstance) -> dict[str, Array]:
        """Return parameters at which the loss is 0."""
        places = [
            (repeat(one.minimum, self.dimension) - repeat(one.centre, self.dimension)) / one.radius
            for one in (CLASSICS[name] for name in self.functions)
        ]
        place = jnp.stack([jnp.asarray(place, jnp.float32) for place in places])[instance.function]
        return {"x": instance.origin + (place @ instance.rotation) / instance.stretches}

    @property
    def ceiling(self) -> float:
        """A hundred times the mean of the initial loss."""
        return 100.0


def _value(name: str, place: Float[Array, " dimension"]) -> Float[Array, ""]:
    one = CLASSICS[name]
    return one.value(jnp.asarray(repeat(one.centre, place.shape[0])) + one.radius * place)


def _register(name: str) -> None:
    @register(name)
    def one() -> Task:
        return Landscape((name,))


for _name in CLASSICS:
    _register(_name)


@register("landscape-family")
def landscape_family() -> Task:
    """Any of the functions, turned, at a size from a half to 2, stretched up to threefold."""
    return Landscape(stretches=(0.5, 2.0), condition=3.0, rotated=True)

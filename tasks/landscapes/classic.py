"""Functions on which optimizers have long been compared, each divided by its mean near the minimum.

Every function takes float32 [dimension] and returns a scalar that is at least 0. Rounding makes none of them
negative: they are written as sums of squares and the like, and not as published, with an offset.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Function = Callable[[Float[Array, " dimension"]], Float[Array, ""]]

_STYBLINSKI = -2.903534
"""Where a coordinate of Styblinski and Tang's function is smallest: a root of 4 x^3 - 32 x + 5."""


def _rosenbrock(x: Float[Array, " d"]) -> Float[Array, ""]:
    """Rosenbrock 1960: a curved valley, whose floor falls slowly."""
    return jnp.mean(100 * jnp.square(x[1:] - jnp.square(x[:-1])) + jnp.square(1 - x[:-1]))


def _ackley(x: Float[Array, " d"]) -> Float[Array, ""]:
    """Ackley 1987: a funnel with a grid of holes."""
    square = jnp.mean(jnp.square(x))
    # The root of 0 has no derivative, but the derivative of what is not chosen must be finite, too.
    away = square > 0
    radius = jnp.where(away, jnp.sqrt(jnp.where(away, square, 1)), 0)
    waves = jnp.mean(jnp.cos(2 * math.pi * x)) - 1
    return -20 * jnp.expm1(-0.2 * radius) - math.e * jnp.expm1(waves)


def _rastrigin(x: Float[Array, " d"]) -> Float[Array, ""]:
    """Rastrigin 1974: a bowl with a grid of holes."""
    return jnp.mean(jnp.square(x) + 10 * (1 - jnp.cos(2 * math.pi * x)))


def _styblinski_tang(x: Float[Array, " d"]) -> Float[Array, ""]:
    """Styblinski and Tang 1990, (x^4 - 16 x^2 + 5 x) / 2: two valleys for each coordinate, one deeper."""
    a = _STYBLINSKI
    return jnp.mean(jnp.square(x - a) * (jnp.square(x + a) + 2 * a * a - 16)) / 2


def _levy(x: Float[Array, " d"]) -> Float[Array, ""]:
    """Levy and Montalvo 1985: parabolas with waves that grow."""
    w = 1 + (x - 1) / 4
    first = jnp.square(jnp.sin(math.pi * w[0]))
    inner = jnp.sum(jnp.square(w[:-1] - 1) * (1 + 10 * jnp.square(jnp.sin(math.pi * w[:-1] + 1))))
    last = jnp.square(w[-1] - 1) * (1 + jnp.square(jnp.sin(2 * math.pi * w[-1])))
    return (first + inner + last) / x.shape[0]


def _beale(x: Float[Array, " d"]) -> Float[Array, ""]:
    """Beale 1958, of each pair of coordinates: steep walls around a flat valley."""
    a, b = x[::2], x[1::2]
    powers = (b, jnp.square(b), b * jnp.square(b))
    return jnp.mean(sum(jnp.square(c - a + a * p) for c, p in zip((1.5, 2.25, 2.625), powers, strict=True)))


def _himmelblau(x: Float[Array, " d"]) -> Float[Array, ""]:
    """Himmelblau 1972, of each pair of coordinates: four minima, all of them 0."""
    a, b = x[::2], x[1::2]
    return jnp.mean(jnp.square(jnp.square(a) + b - 11) + jnp.square(a + jnp.square(b) - 7))


class Classic(NamedTuple):
    """A function, and where to start. A place is given for one coordinate, or for a pair, and repeated."""

    function: Function
    minimum: tuple[float, ...]
    """A place where the function is 0."""
    centre: tuple[float, ...]
    radius: float
    """Runs start uniformly within this distance of the centre, in every coordinate."""
    mean: float
    """The function's mean over the places where runs start, in ten dimensions."""

    @property
    def period(self) -> int:
        """What the dimension must be a multiple of."""
        return len(self.minimum)

    def value(self, x: Float[Array, " dimension"]) -> Float[Array, ""]:
        """Return the function's value, divided by its mean over where runs start."""
        return self.function(x) / self.mean


CLASSICS: dict[str, Classic] = {
    "rosenbrock": Classic(_rosenbrock, (1.0,), (0.0,), 2.0, 456.0),
    "ackley": Classic(_ackley, (0.0,), (0.0,), 4.0, 9.0),
    "rastrigin": Classic(_rastrigin, (0.0,), (0.0,), 4.0, 15.3),
    "styblinski-tang": Classic(_styblinski_tang, (_STYBLINSKI,), (0.0,), 4.0, 22.1),
    "levy": Classic(_levy, (1.0,), (0.0,), 8.0, 7.7),
    "beale": Classic(_beale, (3.0, 0.5), (2.0, 0.0), 2.0, 75.0),
    "himmelblau": Classic(_himmelblau, (3.0, 2.0), (0.0, 0.0), 4.0, 91.0),
}
"""All of them, by name."""


def repeat(place: tuple[float, ...], dimension: int) -> np.ndarray:
    """Repeat the coordinates of one or of a pair, float32 [dimension]."""
    return np.resize(np.asarray(place, np.float32), dimension)

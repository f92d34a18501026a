"""Two differential equations on the unit square, with solutions in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..layers import log_uniform

Solution = Callable[[Float[Array, "rows 2"]], Float[Array, " rows"]]

WAVES = 3


class Jet(NamedTuple):
    """A function's value and derivatives at some points, each float32 [rows]."""

    value: Float[Array, " rows"]
    first: tuple[Float[Array, " rows"], Float[Array, " rows"]]
    """By each coordinate."""
    second: tuple[Float[Array, " rows"], Float[Array, " rows"]]
    """Twice by each coordinate."""


class Poisson(NamedTuple):
    """-(u_xx + u_yy) = source, and u = 0 at the edge."""

    coefficients: Float[Array, "3 3"]
    """Of sin(j pi x) sin(k pi y) in u; their squares sum to 4, so that u has a mean square of 1."""


class Burgers(NamedTuple):
    """u_t + u u_x = viscosity u_xx: a front that travels to the right, seen from 0 to 1 in space and time."""

    speed: Float[Array, ""]
    height: Float[Array, ""]
    """Half of the difference between the values on both sides of the front."""
    place: Float[Array, ""]
    """Where the front is at time 0."""
    viscosity: Float[Array, ""]


def draw_poisson(key: Key[Array, ""]) -> Poisson:
    """Draw a solution in which slow waves are larger."""
    drawn = jax.random.normal(key, (WAVES, WAVES)) / _square_frequencies()
    return Poisson(drawn * 2 * jax.lax.rsqrt(jnp.sum(jnp.square(drawn))))


def draw_burgers(key: Key[Array, ""]) -> Burgers:
    """Draw a front whose width is a tenth of the square or more."""
    keys = jax.random.split(key, 4)
    height = jax.random.uniform(keys[0], minval=0.4, maxval=1.0)
    return Burgers(
        speed=jax.random.uniform(keys[1], minval=0.2, maxval=0.8),
        height=height,
        place=jax.random.uniform(keys[2], minval=0.1, maxval=0.5),
        viscosity=height * log_uniform(keys[3], 0.05, 0.3),
    )


def poisson_solution(equation: Poisson, points: Float[Array, "rows 2"]) -> Float[Array, " rows"]:
    """Return u at points (x, y)."""
    return _waves(equation.coefficients, points)


def poisson_source(equation: Poisson, points: Float[Array, "rows 2"]) -> Float[Array, " rows"]:
    """Return the right-hand side at points (x, y)."""
    return _waves(equation.coefficients * _square_frequencies(), points)


def poisson_size(equation: Poisson) -> Float[Array, ""]:
    """Return the root of the source's mean square over the unit square."""
    return jnp.sqrt(jnp.sum(jnp.square(equation.coefficients * _square_frequencies())) / 4)


def burgers_solution(equation: Burgers, points: Float[Array, "rows 2"]) -> Float[Array, " rows"]:
    """Return u at points (x, t)."""
    away = points[:, 0] - equation.place - equation.speed * points[:, 1]
    return equation.speed - equation.height * jnp.tanh(equation.height * away / (2 * equation.viscosity))


def poisson_residual(jet: Jet, equation: Poisson, points: Float[Array, "rows 2"]) -> Float[Array, " rows"]:
    """Return what is left of Poisson's equation, in units of the source's size."""
    return (sum(jet.second) + poisson_source(equation, points)) / poisson_size(equation)


def burgers_residual(jet: Jet, equation: Burgers) -> Float[Array, " rows"]:
    """Return what is left of Burgers' equation."""
    return jet.first[1] + jet.value * jet.first[0] - equation.viscosity * jet.second[0]


def differentiate(u: Solution, points: Float[Array, "rows 2"]) -> Jet:
    """Return the value and the derivatives of a function that treats every row by itself."""

    def twice(direction: Float[Array, " 2"]) -> tuple[Array, Array, Array]:
        tangent = jnp.broadcast_to(direction, points.shape)

        def once(points: Array) -> tuple[Array, Array]:
            return jax.jvp(u, (points,), (tangent,))

        (value, first), (_, second) = jax.jvp(once, (points,), (tangent,))
        return value, first, second

    value, first, second = jax.vmap(twice)(jnp.eye(2))
    return Jet(value[0], (first[0], first[1]), (second[0], second[1]))


def _waves(coefficients: Float[Array, "3 3"], points: Float[Array, "rows 2"]) -> Float[Array, " rows"]:
    sines = jnp.sin(math.pi * points[:, :, None] * (1 + jnp.arange(WAVES, dtype=jnp.float32))[None, None])
    return jnp.einsum("rj,jk,rk->r", sines[:, 0], coefficients, sines[:, 1])


def _square_frequencies() -> Float[Array, "3 3"]:
    squares = np.square(math.pi * np.arange(1, WAVES + 1))
    return jnp.asarray(squares[:, None] + squares[None], jnp.float32)

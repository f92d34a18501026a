"""Learning-rate schedules by name: factors of the learning rate that depend on hyperparameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from tasks import Hyperparameter, Positive

from .known import KNOWN

Scalar = Float[Array, ""]
Factor = Callable[[Scalar, Mapping[str, Scalar]], Scalar]

_KNOTS = 5
"""Numbers that a piecewise schedule is made of."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        factor: a function of the share of the steps that are done, in [0, 1), and of hyperparameters by name,
            by which the learning rate is multiplied.
        hyperparameters: by name.
        expression: Python for the rate as a function of `count`, in which {learning_rate}, {horizon} and the
            hyperparameters' names in braces stand for numbers.
    """

    factor: Factor
    hyperparameters: Mapping[str, Hyperparameter]
    expression: str


def _constant(share: Scalar, values: Mapping[str, Scalar]) -> Scalar:
    return jnp.ones((), jnp.float32)


def _inverse_time(share: Scalar, values: Mapping[str, Scalar]) -> Scalar:
    return (1 + share) ** -values["decay"]


def _linear(share: Scalar, values: Mapping[str, Scalar]) -> Scalar:
    return 1 + (values["final_fraction"] - 1) * share


def _cosine(share: Scalar, values: Mapping[str, Scalar]) -> Scalar:
    warmup, final = values["warmup_fraction"], values["final_fraction"]
    done = jnp.clip((share - warmup) / (1 - warmup), 0, 1)
    fall = final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * done))
    return jnp.where(share < warmup, share / warmup, fall)


def _piecewise(share: Scalar, values: Mapping[str, Scalar]) -> Scalar:
    logarithms = jnp.stack([jnp.log(values[f"knot_{number}"]) for number in range(1, _KNOTS + 1)])
    return jnp.exp(jnp.interp(share, jnp.linspace(0, 1, _KNOTS), logarithms))


_KNOT = Hyperparameter(Positive(), 1.0, "factor of the learning rate at its place in the schedule")
_KNOT_NAMES = [f"knot_{number}" for number in range(1, _KNOTS + 1)]
_KNOTS_IN_BRACES = ", ".join(f"{{{name}}}" for name in _KNOT_NAMES)

SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(_constant, {}, "{learning_rate}"),
    "inverse-time": Schedule(
        _inverse_time,
        {"decay": KNOWN["decay"]},
        "lambda count: {learning_rate} * (1 + count / {horizon}) ** -{decay}",
    ),
    "linear": Schedule(
        _linear,
        {"final_fraction": KNOWN["final_fraction"]},
        "lambda count: {learning_rate} * (1 + ({final_fraction} - 1) * count / {horizon})",
    ),
    "cosine": Schedule(
        _cosine,
        {name: KNOWN[name] for name in ("final_fraction", "warmup_fraction")},
        "lambda count: {learning_rate} * jnp.where(count < {warmup_fraction} * {horizon}, "
        "count / ({warmup_fraction} * {horizon}), {final_fraction} + (1 - {final_fraction}) * 0.5 * "
        "(1 + jnp.cos(jnp.pi * (count / {horizon} - {warmup_fraction}) / (1 - {warmup_fraction}))))",
    ),
    "piecewise": Schedule(
        _piecewise,
        dict.fromkeys(_KNOT_NAMES, _KNOT),
        "lambda count: {learning_rate} * jnp.exp(jnp.interp(count / {horizon}, "
        f"jnp.linspace(0, 1, {_KNOTS}), jnp.log(jnp.array([{_KNOTS_IN_BRACES}]))))",
    ),
}
"""Schedules by name: Wu et al. 2018's (1 + t / T)^-decay; a line; a cosine after a warm-up; straight lines
between five numbers, on a logarithmic scale."""

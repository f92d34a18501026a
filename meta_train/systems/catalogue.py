"""Systems by name, each with the initial theta of a run on it, for `lopt-train --problem NAME`.

A system is a function that returns the dynamics, and a function from a key to theta; its arguments are
options.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from lopt import check_free

from ..dynamics import Dynamics, Theta
from .cart_pole import CartPole
from .characters import ALPHABET, real_characters
from .copy_task import Copyist, CopyTask
from .gymnasium_swimmer import GymnasiumSwimmer
from .influence_balancing import InfluenceBalancing
from .linear import Linear
from .lorenz import GUESS, Lorenz
from .lstm import LanguageModel, LanguageModelling
from .noisy_quadratic import NoisyQuadratic
from .swimmer import Swimmer
from .toy_regression import ToyRegression

System = tuple[Dynamics, Callable[[Key[Array, ""]], Theta]]
SYSTEMS: dict[str, Callable[..., System]] = {}
"""Functions that create a system, by name."""

M = Callable[..., System]


def register_system(name: str) -> Callable[[M], M]:
    """Return a decorator that registers a function which creates a system and its initial theta.

    Raises:
        UsageError: if the name is taken.
    """

    def add(make: M) -> M:
        check_free("system", name, SYSTEMS)
        SYSTEMS[name] = make
        return make

    return add


@register_system("influence-balancing")
def _influence_balancing(every: int = 1, summed: bool = False, start: float = 0.5) -> System:
    return InfluenceBalancing(every=every, summed=summed), lambda _: jnp.asarray(start, jnp.float32)


@register_system("toy-regression")
def _toy_regression(start: float = -4.0) -> System:
    return ToyRegression(), lambda _: jnp.full(2, start, jnp.float32)


@register_system("noisy-quadratic")
def _noisy_quadratic(dimensions: int = 50, condition: float = 1e3, noise: float = 0.1) -> System:
    return NoisyQuadratic(dimensions, condition, noise), lambda _: jnp.log(jnp.full(2, 0.3, jnp.float32))


@register_system("lorenz")
def _lorenz(steps: int = 2000) -> System:
    return Lorenz.create(steps), lambda _: jnp.asarray(GUESS, jnp.float32)


@register_system("copy-task")
def _copy_task(hidden: int = 100, batch: int = 32, longest: int = 128) -> System:
    return CopyTask(batch=batch, longest=longest), lambda key: Copyist.create(key, hidden)


@register_system("language-modelling")
def _language_modelling(steps: int = 1000, embedding: int = 5, hidden: int = 5) -> System:
    return LanguageModelling(real_characters(steps)), lambda key: LanguageModel.create(
        key, len(ALPHABET), embedding, hidden
    )


@register_system("linear")
def _linear(steps: int = 200, states: int = 3, parameters: int = 2, seed: int = 1) -> System:
    system = Linear.create(jax.random.key(seed), steps=steps, states=states, parameters=parameters)
    return system, lambda _: jnp.zeros(parameters)


@register_system("cart-pole")
def _cart_pole(spread: float = 0.1) -> System:
    return CartPole(spread=spread), lambda _: jnp.zeros(6)


@register_system("swimmer")
def _swimmer(spread: float = 0.1) -> System:
    return Swimmer(spread=spread), lambda _: jnp.zeros((2, 8))


@register_system("gymnasium-swimmer")
def _gymnasium_swimmer() -> System:
    return GymnasiumSwimmer(), lambda _: jnp.zeros((2, 8))

"""Meta-training with one estimator, from several seeds at once, with evaluations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from meta_train import Devices, Dynamics, Estimator, Mixture, init_run, make_meta_step


@dataclasses.dataclass(frozen=True)
class Curve:
    """The results of meta-training; the first axis is seeds.

    Attributes:
        meta_steps: meta-steps at which theta was evaluated, starting with 0.
        inner_steps: inner steps done by then, counting all particles and antithetic members.
        values: results of `evaluate` [seeds, points].
        thetas: theta at those points, flat [seeds, points, P].
    """

    meta_steps: np.ndarray
    inner_steps: np.ndarray
    values: np.ndarray
    thetas: np.ndarray

    def at(self, meta_step: int) -> np.ndarray:
        """Return the values [seeds] at the last evaluation that is not after a meta-step."""
        return self.values[:, np.searchsorted(self.meta_steps, meta_step, "right") - 1]

    def as_data(self) -> dict[str, Any]:
        """Return the data for JSON: everything except intermediate thetas."""
        return {
            "meta_steps": self.meta_steps,
            "inner_steps": self.inner_steps,
            "values": self.values,
            "final_thetas": self.thetas[:, -1] if self.thetas.shape[-1] <= 10 else [],
        }


def meta_train(
    dynamics: Dynamics,
    estimator: Estimator,
    outer: optax.GradientTransformation,
    theta: Any,
    *,
    particles: int,
    meta_steps: int,
    every: int,
    evaluate: Callable[[Any], Float[Array, ""]],
    seeds: int = 1,
    seed: int = 0,
) -> Curve:
    """Meta-train from `seeds` seeds side by side, in one compiled program.

    Args:
        dynamics: the unrolled graph.
        estimator: the gradient estimator.
        outer: the outer optimizer.
        theta: the initial theta of every seed.
        particles: size of the population; an antithetic pair is one particle.
        meta_steps: number of meta-steps; rounded down to a multiple of `every`.
        every: meta-steps from one evaluation to the next.
        evaluate: a scalar function of theta.
        seeds: number of runs, which differ only in their keys.
        seed: the seed of their keys.
    """
    thetas = jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x)[None], seeds, axis=0), theta)
    keys = jax.random.split(jax.random.key(seed), seeds)
    return meta_train_each(
        dynamics,
        estimator,
        outer,
        thetas,
        keys,
        particles=particles,
        meta_steps=meta_steps,
        every=every,
        evaluate=evaluate,
    )


def meta_train_each(
    dynamics: Dynamics,
    estimator: Estimator,
    outer: optax.GradientTransformation,
    thetas: Any,
    keys: Key[Array, " runs"],
    *,
    particles: int,
    meta_steps: int,
    every: int,
    evaluate: Callable[[Any], Float[Array, ""]],
) -> Curve:
    """Meta-train from several initial thetas side by side, in one compiled program.

    Args:
        dynamics: the unrolled graph.
        estimator: the gradient estimator.
        outer: the outer optimizer.
        thetas: the initial thetas; the first axis of each leaf is the runs.
        keys: a PRNG key for each run.
        particles: size of the population; an antithetic pair is one particle.
        meta_steps: number of meta-steps; rounded down to a multiple of `every`.
        every: meta-steps from one evaluation to the next.
        evaluate: a scalar function of theta.
    """
    points = meta_steps // every

    def one(dynamics: Dynamics, theta: Any, key: Array) -> tuple[Array, Array]:
        return train_one(dynamics, estimator, outer, theta, key, particles, points, every, evaluate)

    values, found = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))(dynamics, thetas, keys)
    done = every * np.arange(points + 1)
    inner = done * particles * estimator.steps_per_window
    return Curve(done, inner, np.asarray(values), np.asarray(found))


def train_one(
    dynamics: Dynamics,
    estimator: Estimator,
    outer: optax.GradientTransformation,
    theta: Any,
    key: Key[Array, ""],
    particles: int,
    points: int,
    every: int,
    evaluate: Callable[[Any], Float[Array, ""]],
) -> tuple[Float[Array, " points+1"], Float[Array, "points+1 P"]]:
    """Meta-train by the trainer's own meta-step, in one program that can be mapped over its arguments.

    Args:
        dynamics: the unrolled graph.
        estimator: the gradient estimator.
        outer: the outer optimizer.
        theta: the initial theta.
        key: the PRNG key of the run.
        particles: size of the population; an antithetic pair is one particle.
        points: evaluations after the first.
        every: meta-steps from one evaluation to the next.
        evaluate: a scalar function of theta.

    Returns:
        The results of `evaluate` for the initial theta and after every `every` meta-steps, and those thetas,
        flat.
    """
    mixture = Mixture.of(particles, Devices(backend="vmap"))
    step, members = make_meta_step(estimator, outer, mixture), {"only": dynamics}
    start = init_run(members, estimator, outer, mixture, theta, key)
    constants = (members, jnp.asarray(every, jnp.int32))

    def look(theta: Any) -> tuple[Array, Array]:
        return evaluate(theta), ravel_pytree(theta)[0]

    def record(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], tuple[Array, Array]]:
        state, particles, _metrics = step(*carry, constants)
        return (state, particles), look(state.theta)

    _, seen = jax.lax.scan(record, start, None, points)
    values, thetas = jax.tree.map(lambda x, s: jnp.append(x[None], s, axis=0), look(theta), seen)
    return values, thetas

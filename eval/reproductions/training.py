"""Meta-train by one estimator, from several seeds at once, and evaluate on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train import Devices, Dynamics, Estimator, Mixture, init_run, make_meta_step


@dataclasses.dataclass(frozen=True)
class Curve:
    """What meta-training gave, first axis seeds.

    Attributes:
        meta_steps: when theta was evaluated, beginning with 0.
        inner_steps: inner steps done by then, all particles and antithetic members counted.
        values: what `evaluate` said of theta [seeds, points].
        thetas: theta at those points, flat [seeds, points, P].
    """

    meta_steps: np.ndarray
    inner_steps: np.ndarray
    values: np.ndarray
    thetas: np.ndarray

    def at(self, meta_step: int) -> np.ndarray:
        """Return the values [seeds] at the last evaluation that was not after a meta-step."""
        return self.values[:, np.searchsorted(self.meta_steps, meta_step, "right") - 1]

    def as_data(self) -> dict[str, Any]:
        """Return what JSON holds of it: everything but the thetas on the way, of which it has the last."""
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
        estimator: gives the gradients.
        outer: the outer optimizer.
        theta: where every seed starts.
        particles: size of the population; an antithetic pair is one.
        meta_steps: how many; rounded down to a multiple of `every`.
        every: meta-steps from one evaluation to the next.
        evaluate: a scalar function of theta.
        seeds: how many runs; they differ in their keys alone.
        seed: makes their keys.
    """
    mixture = Mixture.of(particles, Devices(backend="vmap"))
    step = make_meta_step(estimator, outer, mixture)
    points = meta_steps // every

    def one(dynamics: dict[str, Dynamics], theta: Any, key: Array) -> tuple[Array, Array]:
        state, members = init_run(dynamics, estimator, outer, mixture, theta, key)
        constants = (dynamics, jnp.asarray(every, jnp.int32))

        def look(theta: Any) -> tuple[Array, Array]:
            return evaluate(theta), ravel_pytree(theta)[0]

        def record(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], tuple[Array, Array]]:
            seen = look(carry[0].theta)
            state, members, _metrics = step(*carry, constants)
            return (state, members), seen

        (state, _), seen = jax.lax.scan(record, (state, members), None, points)
        values, thetas = jax.tree.map(lambda s, x: jnp.append(s, x[None], axis=0), seen, look(state.theta))
        return values, thetas

    keys = jax.random.split(jax.random.key(seed), seeds)
    values, thetas = jax.jit(jax.vmap(one, in_axes=(None, None, 0)))({"only": dynamics}, theta, keys)
    done = every * np.arange(points + 1)
    inner = done * particles * estimator.steps_per_window
    return Curve(done, inner, np.asarray(values), np.asarray(thetas))

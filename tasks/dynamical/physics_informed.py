"""Networks that solve a differential equation: the loss has their derivatives by their inputs."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Task
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import Layers, draw_index, equal_weights
from ..perceptron import Perceptron, PerceptronInstance
from ..registry import register
from .equations import (
    Burgers,
    Poisson,
    Solution,
    burgers_residual,
    burgers_solution,
    differentiate,
    draw_burgers,
    draw_poisson,
    poisson_residual,
    poisson_solution,
)

EQUATIONS = ("poisson", "burgers")


class PhysicsInstance(NamedTuple):
    """One equation, and the network that solves it."""

    equation: Int[Array, ""]
    """Index into the family's `equations`."""
    poisson: Poisson
    burgers: Burgers
    perceptron: PerceptronInstance


class Points(NamedTuple):
    """Where the equation and its boundary values are asked for, uniform over the unit square."""

    inside: Float[Array, "rows 2"]
    edge: Float[Array, "rows 2"]
    weights: Float[Array, " rows"]
    """Weight of each row in the means; they sum to 1."""


class PhysicsInformed(Task):
    """Solve Poisson's or Burgers' equation with a perceptron of the coordinates.

    The loss is the mean square of what is left of the equation at random points, plus the mean squared error
    at random points of the edge (for Burgers' equation, all sides but the last moment). It is zero for the
    solution, which is known. Every key gives new points, and each split has its own stream of keys.

    References:
        Raissi, Perdikaris and Karniadakis 2019, arXiv:1711.10561 (physics-informed neural networks).
        Sitzmann et al. 2020, arXiv:2006.09661 (sine networks).

    Raises:
        UsageError: for an unknown equation, or a network of other sizes or with `relu`.
    """

    equations: tuple[str, ...] = struct.field(pytree_node=False, default=EQUATIONS)
    perceptron: Perceptron = struct.field(
        pytree_node=False, default=Perceptron(2, 1, (24, 24), (2, 2), ("tanh",), (1.5, 1.5))
    )
    batch_size: int = struct.field(pytree_node=False, default=48)

    def __post_init__(self) -> None:
        unknown = set(self.equations) - set(EQUATIONS)
        if unknown or not self.equations:
            raise UsageError(f"equations {sorted(unknown)} are unknown; there are {', '.join(EQUATIONS)}")
        if (self.perceptron.inputs, self.perceptron.outputs) != (2, 1):
            raise UsageError("a solution takes two coordinates and returns a number: give Perceptron(2, 1)")
        if "relu" in self.perceptron.activations:
            raise UsageError("the second derivative of relu is zero: give tanh, sine, gelu or silu")

    def sample(self, key: Key[Array, ""]) -> PhysicsInstance:
        """Draw an equation with its solution, and a perceptron."""
        keys = jax.random.split(key, 4)
        return PhysicsInstance(
            equation=draw_index(keys[0], self.equations),
            poisson=draw_poisson(keys[1]),
            burgers=draw_burgers(keys[2]),
            perceptron=self.perceptron.sample(keys[3]),
        )

    def init(self, instance: PhysicsInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        return self.perceptron.init(instance.perceptron, key)

    def batch(self, instance: PhysicsInstance, key: Key[Array, ""], split: Split) -> Points:
        """Draw points inside and at the edge."""
        draw_key, side_key = jax.random.split(jax.random.fold_in(key, SPLITS.index(split)))
        rows = self.batch_size
        draws = jax.random.uniform(draw_key, (rows, 3))
        sides = jax.random.randint(side_key, (rows,), 0, 4)
        end = (sides % 2).astype(jnp.float32)
        across = sides < 2  # the first coordinate is 0 or 1, otherwise the second
        edge = jnp.stack([jnp.where(across, end, draws[:, 2]), jnp.where(across, draws[:, 2], end)], axis=1)
        return Points(draws[:, :2], edge, equal_weights(rows))

    def loss(
        self, instance: PhysicsInstance, params: Layers, batch: Points, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean square of the residual plus that of the error at the edge."""

        def network(points: Float[Array, "rows 2"]) -> Float[Array, " rows"]:
            return self.perceptron.apply(instance.perceptron, params, 2 * points - 1)[:, 0]

        return self.loss_of(network, instance, batch)

    def loss_of(self, u: Solution, instance: PhysicsInstance, batch: Points) -> Float[Array, ""]:
        """Return the loss of any function, for example of the solution."""
        jet = differentiate(u, batch.inside)
        residuals = {
            "poisson": poisson_residual(jet, instance.poisson, batch.inside),
            "burgers": burgers_residual(jet, instance.burgers),
        }
        # Nothing is known of Burgers' last moment: what would be there is asked at the first.
        kept = (batch.edge[:, 1] < 1).astype(jnp.float32)
        edges = {"poisson": batch.edge, "burgers": batch.edge * jnp.stack([jnp.ones_like(kept), kept], 1)}
        edge = self._choose(instance, edges)
        residual, error = self._choose(instance, residuals), u(edge) - self.solution(instance, edge)
        return batch.weights @ (jnp.square(residual) + jnp.square(error))

    def solution(self, instance: PhysicsInstance, points: Float[Array, "rows 2"]) -> Float[Array, " rows"]:
        """Return the solution of the instance's equation."""
        values = {
            "poisson": poisson_solution(instance.poisson, points),
            "burgers": burgers_solution(instance.burgers, points),
        }
        return self._choose(instance, values)

    def _choose(self, instance: PhysicsInstance, values: dict[str, Array]) -> Array:
        """Return what belongs to the instance's equation."""
        chosen = [values[name] for name in self.equations]
        return chosen[0] if len(chosen) == 1 else jnp.stack(chosen)[instance.equation]

    @property
    def ceiling(self) -> float:
        """Far above the loss of any of the registered networks at the start."""
        return 100.0


@register("poisson-pinn")
def poisson_pinn() -> Task:
    """Poisson's equation, with a network of sines."""
    return PhysicsInformed(("poisson",), Perceptron(2, 1, (24, 24), (2, 2), ("sine",), (2.0, 2.0)))


@register("burgers-pinn")
def burgers_pinn() -> Task:
    """Burgers' equation, with a network of hyperbolic tangents."""
    return PhysicsInformed(("burgers",))


@register("pinn-family")
def pinn_family() -> Task:
    """Either equation; width, depth, activation and initial scale are drawn."""
    return PhysicsInformed(perceptron=Perceptron(2, 1, (12, 24), (1, 2), ("tanh", "sine"), (1.0, 2.0)))

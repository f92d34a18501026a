"""Objectives of an episode: a number computed from its step losses.

Every objective is a sum of one increment per step, because estimators of unrolled graphs work on sums: the
final loss, for example, is the sum of its changes. Which loss is measured (training or validation) is up to
the dynamics (`InnerTraining.measured_on`).
"""

from __future__ import annotations

import abc
import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt import UsageError

from .registry import Registry

Scalar = Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Objective(abc.ABC):
    """An episode's objective as a running sum."""

    @abc.abstractmethod
    def increment(self, so_far: Scalar, loss: Scalar, age: Int[Array, ""], horizon: Int[Array, ""]) -> Scalar:
        """Return the increment of one step.

        Args:
            so_far: the sum of the increments before; 0 at the episode's start.
            loss: the step's loss, clipped to the dynamics' ceiling.
            age: number of earlier steps in the episode.
            horizon: length of the whole episode in steps.
        """


OBJECTIVES: Registry[Objective] = Registry("objective", Objective)
"""Objectives by their names in configurations."""


@OBJECTIVES.register("mean")
@dataclasses.dataclass(frozen=True)
class MeanLoss(Objective):
    """The mean of the step losses over the episode."""

    def increment(self, so_far: Scalar, loss: Scalar, age: Int[Array, ""], horizon: Int[Array, ""]) -> Scalar:
        """Add loss / horizon."""
        return loss / horizon.astype(loss.dtype)


@OBJECTIVES.register("sum")
@dataclasses.dataclass(frozen=True)
class SumLoss(Objective):
    """The sum of the step losses."""

    def increment(self, so_far: Scalar, loss: Scalar, age: Int[Array, ""], horizon: Int[Array, ""]) -> Scalar:
        """Add the loss."""
        return loss


@OBJECTIVES.register("mean-log")
@dataclasses.dataclass(frozen=True)
class MeanLogLoss(Objective):
    """A mean of log(max(loss, floor)): relative changes count equally at every scale of the loss.

    Attributes:
        floor: lower bound of losses; positive. What a task gains below it counts for nothing.
        late: how much more late steps count, from 0, all steps alike, to 1, step t of T in proportion to t.
        early: the share of the weight, from 0 to 1, that is spread evenly over the logarithm of time, so
            that the first dozens of steps of a long episode count, too. The rest is weighted by `late`.
    """

    floor: float = 1e-4
    late: float = 0.0
    early: float = 0.0

    def __post_init__(self) -> None:
        if self.floor <= 0:
            raise UsageError(f"floor must be positive, not {self.floor}: it bounds the logarithm from below")
        if not 0 <= self.late <= 1:
            raise UsageError(f"late must be between 0, all steps alike, and 1, not {self.late}")
        if not 0 <= self.early <= 1:
            raise UsageError(f"early is a share of the weight: it must be between 0 and 1, not {self.early}")

    def increment(self, so_far: Scalar, loss: Scalar, age: Int[Array, ""], horizon: Int[Array, ""]) -> Scalar:
        """Add the logarithm times the step's weight; the weights of an episode sum to 1."""
        last, step = horizon.astype(loss.dtype), (age + 1).astype(loss.dtype)
        weight = (1 - self.late + 2 * self.late * step / (last + 1)) / last
        if self.early:
            of_log_time = jnp.log1p(1 / step) / jnp.log1p(last)
            weight = (1 - self.early) * weight + self.early * of_log_time
        return jnp.log(jnp.maximum(loss, self.floor)) * weight


@OBJECTIVES.register("last")
@dataclasses.dataclass(frozen=True)
class LastLoss(Objective):
    """The loss of the episode's last step, as a telescoping sum of changes."""

    def increment(self, so_far: Scalar, loss: Scalar, age: Int[Array, ""], horizon: Int[Array, ""]) -> Scalar:
        """Add the change of the loss."""
        return loss - so_far


@OBJECTIVES.register("minimum")
@dataclasses.dataclass(frozen=True)
class MinimumLoss(Objective):
    """The smallest loss of the episode, as a telescoping sum of changes."""

    def increment(self, so_far: Scalar, loss: Scalar, age: Int[Array, ""], horizon: Int[Array, ""]) -> Scalar:
        """Add the change of the running minimum."""
        return jnp.where(age == 0, loss, jnp.minimum(loss - so_far, 0))


@OBJECTIVES.register("time-weighted")
@dataclasses.dataclass(frozen=True)
class TimeWeightedLoss(Objective):
    """The mean of the step losses in which step t of T counts in proportion to t: late steps matter most."""

    def increment(self, so_far: Scalar, loss: Scalar, age: Int[Array, ""], horizon: Int[Array, ""]) -> Scalar:
        """Add 2 t loss / (T (T + 1)), t counting from 1."""
        steps, last = (age + 1).astype(loss.dtype), horizon.astype(loss.dtype)
        return 2 * steps / (last * (last + 1)) * loss

"""What is tuned: hyperparameters of an optimizer, a schedule, a loss and a task, as theta."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from lopt import UsageError, look_up
from tasks import Bounded, Choice, Constraint, Hyperparameter, Integer, Positive

Scope = Literal["all", "layer", "tensor"]
"""What there is one value for: all parameters, each group of tensors under one name, or each tensor."""

FreeNumbers = dict[str, Float[Array, "..."]]
"""Theta: the free numbers of each hyperparameter by its name, a scalar or one a group of tensors."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A hyperparameter that is tuned."""

    name: str
    hyperparameter: Hyperparameter
    scope: Scope = "all"


@dataclasses.dataclass(frozen=True)
class Space:
    """All that is tuned, in order.

    Attributes:
        tuned: what is tuned.
        groups: labels of the groups of tensors that have their own values; a single "" where all share one.
    """

    tuned: tuple[Tuned, ...]
    groups: tuple[str, ...] = ("",)

    def start(self, key: Key[Array, ""]) -> FreeNumbers:
        """Draw theta from the hyperparameters' ranges; where they are single values, nothing is random."""
        return self._draw(key, Hyperparameter.free_range)

    def draw_widely(self, key: Key[Array, ""]) -> FreeNumbers:
        """Draw theta from wide ranges: what tuning is compared with on the way."""
        return self._draw(key, Hyperparameter.wide_range)

    def shape(self, one: Tuned) -> tuple[int, ...]:
        """Return the shape of a hyperparameter's values."""
        return () if one.scope == "all" else (len(self.groups),)

    def values(self, theta: FreeNumbers) -> dict[str, Float[Array, "..."]]:
        """Return the hyperparameters' values, shaped like theta."""
        return {one.name: one.hyperparameter.constraint.value(theta[one.name]) for one in self.tuned}

    def flat(self, theta: Mapping[str, Any]) -> dict[str, float]:
        """Return the values as plain numbers by name; NAME@GROUP where there are several."""
        found = {name: jax.device_get(value) for name, value in self.values(dict(theta)).items()}
        return {
            label: float(f"{number:.7g}")  # as many digits as float32 has
            for name, value in found.items()
            for label, number in (
                [(name, value)]
                if value.ndim == 0
                else [(f"{name}@{group}", number) for group, number in zip(self.groups, value, strict=True)]
            )
        }

    def _draw(
        self, key: Key[Array, ""], range_of: Callable[[Hyperparameter], tuple[float, float]]
    ) -> FreeNumbers:
        drawn = {}
        for number, one in enumerate(self.tuned):
            low, high = range_of(one.hyperparameter)
            own = jax.random.fold_in(key, number)
            drawn[one.name] = jax.random.uniform(own, self.shape(one), jnp.float32, low, high)
        return drawn

    @property
    def rounded(self) -> tuple[str, ...]:
        """The names of what has no derivative."""
        return tuple(one.name for one in self.tuned if not one.hyperparameter.constraint.smooth)


def parse_names(given: Iterable[str]) -> dict[str, Scope]:
    """Read `--tune`: names, apart by spaces or commas, each NAME, NAME@layer or NAME@tensor.

    Raises:
        UsageError: for a scope that there is none of, a name that comes twice, or no name.
    """
    scopes: dict[str, Scope] = {}
    for text in (name for part in given for name in part.split(",") if name):
        name, at, scope = text.partition("@")
        if at and scope not in ("layer", "tensor"):
            raise UsageError(f"--tune takes NAME, NAME@layer or NAME@tensor, not {text!r}")
        if name in scopes:
            raise UsageError(f"--tune names {name} twice: name each once")
        scopes[name] = scope if scope in ("layer", "tensor") else "all"
    if not scopes:
        raise UsageError("--tune takes at least one hyperparameter, such as learning_rate")
    return scopes


def choose(
    known: Mapping[str, Hyperparameter],
    names: Mapping[str, Scope],
    bounds: Mapping[str, str],
    starts: Mapping[str, str],
) -> tuple[Tuned, ...]:
    """Take the hyperparameters that are to be tuned, with the bounds and starts that were asked for.

    Args:
        known: all that there are.
        names: what to tune, and for what there is one value.
        bounds: by name, LOW:HIGH, LOW:HIGH:log, or A,B,C for one of these values.
        starts: by name, VALUE or LOW:HIGH, a range to draw from.

    Raises:
        UsageError: for unknown names, with the nearest ones; bounds the wrong way round, and a start that is
            out of bounds.
    """
    for flag, given in (("--bounds", bounds), ("--start", starts)):
        for name in given:
            if name not in names:
                raise UsageError(f"{flag} has {name}, which --tune does not name")
    tuned = []
    for name, scope in names.items():
        one = look_up("hyperparameter", known, name)
        try:
            changes: dict[str, Any] = {}
            if name in bounds:
                changes["constraint"] = _constraint(bounds[name], one.constraint)
                changes["start"] = _inside(one, changes["constraint"])
            if name in starts:
                changes["start"] = _start(starts[name])
            tuned.append(Tuned(name, dataclasses.replace(one, **changes), scope))
        except ValueError as error:  # of tasks, or of ours
            raise UsageError(f"{name}: {error}") from error
    return tuple(tuned)


def _constraint(text: str, known: Constraint) -> Constraint:
    """Read bounds; they are of the kind that the hyperparameter is of."""
    if "," in text:
        return Choice(tuple(_number(part) for part in text.split(",")))
    low, *rest = text.split(":")
    if len(rest) not in (1, 2) or rest[1:] not in ([], ["log"]):
        raise UsageError(f"bounds are LOW:HIGH, LOW:HIGH:log, or A,B,C for a choice, not {text!r}")
    ends, log = (_number(low), _number(rest[0])), bool(rest[1:])
    if isinstance(known, Integer):
        return Integer(*ends, log=log or known.log)  # type: ignore[arg-type]
    # A positive number is tuned by its logarithm, with bounds as without.
    return Bounded(*ends, log=log or (isinstance(known, Positive) and min(ends) > 0))


def _inside(one: Hyperparameter, constraint: Constraint) -> float | tuple[float, float]:
    """Return the usual start where the new bounds allow it, and else the middle of what they allow."""
    if all(constraint.allows(value) for value in one.range):
        return one.start
    if isinstance(constraint, Choice):
        return constraint.values[len(constraint.values) // 2]
    return float(constraint.value(jnp.zeros((), jnp.float32)))


def _start(text: str) -> float | tuple[float, float]:
    ends = [_number(part) for part in text.split(":")]
    if len(ends) > 2:
        raise UsageError(f"a start is VALUE or LOW:HIGH, not {text!r}")
    return ends[0] if len(ends) == 1 else (ends[0], ends[1])


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{text!r} is no finite number")
    return number

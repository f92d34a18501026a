"""Hyperparameters by name: what values one may take, and where tuning starts.

Tuning moves a *free* number, any real one; a `Constraint` maps it to the value that is used.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .errors import UsageError

_FACTOR = math.log(30)
"""How far a wide range of positive numbers goes beyond a narrow one, as a logarithm."""
_SHARES = (0.01, 0.999)
"""Ends of a wide range of shares."""
_EDGE = 1e-3
"""How close a start may be to a bound, as a share of the range: at the bound itself nothing moves."""


class Constraint(abc.ABC):
    """Maps free numbers to the values that a hyperparameter may take.

    `value` is traced and works elementwise; `free` and `allows` are for numbers on the host.
    """

    smooth: ClassVar[bool] = True
    """Whether `value` has a derivative that is worth following."""

    @abc.abstractmethod
    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the values of free numbers."""

    @abc.abstractmethod
    def free(self, value: float) -> float:
        """Return a free number whose value is `value`."""

    @abc.abstractmethod
    def allows(self, value: float) -> bool:
        """Return whether tuning may start at a value."""

    @abc.abstractmethod
    def around(self, low: float, high: float) -> tuple[float, float]:
        """Return a wide range of free numbers around one: all that is allowed, where that is bounded."""


@dataclasses.dataclass(frozen=True)
class Real(Constraint):
    """Any number."""

    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        return free

    def free(self, value: float) -> float:
        return value

    def allows(self, value: float) -> bool:
        return math.isfinite(value)

    def __str__(self) -> str:
        return "a finite number"

    def around(self, low: float, high: float) -> tuple[float, float]:
        return low - 1.0, high + 1.0


@dataclasses.dataclass(frozen=True)
class Positive(Constraint):
    """Positive numbers, through their logarithms."""

    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(free)

    def free(self, value: float) -> float:
        return math.log(value)

    def allows(self, value: float) -> bool:
        return 0 < value < math.inf

    def __str__(self) -> str:
        return "positive"

    def around(self, low: float, high: float) -> tuple[float, float]:
        return low - _FACTOR, high + _FACTOR


@dataclasses.dataclass(frozen=True)
class Share(Constraint):
    """Numbers between 0 and 1, through their logits."""

    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.sigmoid(free)

    def free(self, value: float) -> float:
        return _logit(value)

    def allows(self, value: float) -> bool:
        return 0 < value < 1

    def __str__(self) -> str:
        return "between 0 and 1"

    def around(self, low: float, high: float) -> tuple[float, float]:
        return self.free(_SHARES[0]), self.free(_SHARES[1])


@dataclasses.dataclass(frozen=True)
class Bounded(Constraint):
    """Numbers between two bounds, through the logit of their place in between.

    Attributes:
        low: the lower bound.
        high: the upper bound.
        log: whether places are those of logarithms; both bounds are positive then.

    Raises:
        UsageError: for bounds the wrong way round, not finite, or not positive on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise UsageError(f"bounds must be finite, the lower one first, not {self.low:g}:{self.high:g}")
        if self.log and self.low <= 0:
            raise UsageError(
                f"bounds on a logarithmic scale must be positive, not {self.low:g}:{self.high:g}"
            )

    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        low, high = self._ends
        place = low + (high - low) * jax.nn.sigmoid(free)
        return jnp.exp(place) if self.log else place

    def free(self, value: float, edge: float = _EDGE) -> float:
        low, high = self._ends
        place = ((math.log(value) if self.log else value) - low) / (high - low)
        return _logit(min(max(place, edge), 1 - edge))

    def allows(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def _ends(self) -> tuple[float, float]:
        return (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)

    def __str__(self) -> str:
        return f"between {self.low:g} and {self.high:g}"

    def around(self, low: float, high: float) -> tuple[float, float]:
        return self.free(self.low), self.free(self.high)


@dataclasses.dataclass(frozen=True)
class Integer(Constraint):
    """Whole numbers between two bounds, both included: a bounded number, rounded.

    Rounding has no derivative: only estimators that perturb theta see further than the next step.

    Attributes:
        low: the lowest.
        high: the highest.
        log: whether they are evenly spaced by their logarithms; both are positive then.

    Raises:
        UsageError: as for `Bounded`, and for bounds that are no whole numbers.
    """

    low: int
    high: int
    log: bool = False
    smooth: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.low != round(self.low) or self.high != round(self.high):
            raise UsageError(f"bounds of whole numbers must be whole, not {self.low:g}:{self.high:g}")
        Bounded(self.low, self.high, self.log)

    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.clip(jnp.round(self._around.value(free)), self.low, self.high)

    def free(self, value: float) -> float:
        return self._around.free(value, edge=0.0)

    def allows(self, value: float) -> bool:
        return value == round(value) and self.low <= value <= self.high

    @property
    def _around(self) -> Bounded:
        """The numbers that are rounded: each whole number has as wide a range, the ends too."""
        return Bounded(self.low - 0.5, self.high + 0.5, self.log)

    def __str__(self) -> str:
        return f"a whole number from {self.low:g} to {self.high:g}"

    def around(self, low: float, high: float) -> tuple[float, float]:
        return self.free(self.low), self.free(self.high)


@dataclasses.dataclass(frozen=True)
class Choice(Constraint):
    """One of some numbers, in an order in which neighbours are alike.

    Attributes:
        values: at least two.

    Raises:
        UsageError: for fewer than two.
    """

    values: tuple[float, ...]
    smooth: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if len(set(self.values)) < 2:
            raise UsageError(f"a choice needs at least two values, not {self.values}")

    def value(self, free: Float[Array, "..."]) -> Float[Array, "..."]:
        index = self._index.value(free).astype(jnp.int32)
        return jnp.asarray(self.values, jnp.float32)[index]

    def free(self, value: float) -> float:
        return self._index.free(self.values.index(value))

    def allows(self, value: float) -> bool:
        return value in self.values

    @property
    def _index(self) -> Integer:
        return Integer(0, len(self.values) - 1)

    def __str__(self) -> str:
        return f"one of {', '.join(f'{value:g}' for value in self.values)}"

    def around(self, low: float, high: float) -> tuple[float, float]:
        return self.free(self.values[0]), self.free(self.values[-1])


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """What may be tuned.

    Attributes:
        constraint: the values that it may take.
        start: where tuning starts: a value, or the ends of a range from which it is drawn, evenly in the free
            number.
        about: what it does, in a few words.
        measured: its value where a loss is measured, for what acts in training alone, as dropout does; None
            where it is the same.

    Raises:
        UsageError: for a start that the constraint does not allow, or a range the wrong way round.
    """

    constraint: Constraint
    start: float | tuple[float, float]
    about: str = ""
    measured: float | None = None

    def __post_init__(self) -> None:
        for value in self.range:
            if not self.constraint.allows(value):
                raise UsageError(f"its start must be {self.constraint}, not {value:g}")
        if self.range[0] > self.range[1]:
            raise UsageError(
                f"the range of its start has the lower end first, not {self.range[0]:g}:{self.range[1]:g}"
            )

    @property
    def range(self) -> tuple[float, float]:
        """The ends of the start's range; the same for a single value."""
        return self.start if isinstance(self.start, tuple) else (self.start, self.start)

    def free_range(self) -> tuple[float, float]:
        """Return the range of the start as free numbers."""
        low, high = self.range
        return self.constraint.free(low), self.constraint.free(high)

    def wide_range(self) -> tuple[float, float]:
        """Return the range of free numbers that random search draws from."""
        return self.constraint.around(*self.free_range())


def _logit(share: float) -> float:
    return math.log(share) - math.log1p(-share)

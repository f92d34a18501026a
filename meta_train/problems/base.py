"""What a run is about: what theta is, what it is trained on, judged on, and published as.

Importing this module imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import abc
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..registry import Registry

if TYPE_CHECKING:
    from ..dynamics import Dynamics, Theta
    from ..estimators.base import Estimator


class Training(NamedTuple):
    """What theta is trained on, or one part of it."""

    dynamics: Dynamics
    weight: float = 1.0
    """Its share of the gradient, over the sum of all."""


class Trial(NamedTuple):
    """What theta is judged on, or one part of it."""

    label: str
    """Its name among the metrics."""
    dynamics: Dynamics
    horizon: int
    """Inner steps; a multiple of the window."""
    weight: float = 1.0
    """Those of a run sum to 1."""


class Rival(NamedTuple):
    """What theta is compared with: the best of some candidates, for each trial."""

    name: str
    """In metrics, such as tuned_adam."""
    title: str
    """In words."""
    thetas: Theta
    """The candidates, stacked: each leaf has them as its first axis."""
    settings: tuple[float, ...]
    """What tells them apart, such as a learning rate."""


@dataclasses.dataclass(frozen=True)
class Problem(abc.ABC):
    """What a run is about; a frozen dataclass, and so its own configuration.

    Its fields are options of `lopt-train`; they hold strings, numbers, and tuples of them. A user's own is
    registered with `PROBLEMS.register("its-name")`, and chosen with `--problem its-name`.
    """

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of the members, in order: what theta is trained on. Reads no data."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of `trials`, in order: what theta is judged on. Reads no data."""
        return self.names

    @abc.abstractmethod
    def members(self) -> dict[str, Training]:
        """Return what theta is trained on, by name: one, or several, a mixture.

        Raises:
            ValueError: for what is unknown, in one sentence.
        """

    @abc.abstractmethod
    def theta(self, key: Any) -> Theta:
        """Return theta as it is at the start, a tree of float arrays. Reads no data.

        Args:
            key: a typed PRNG key.

        Raises:
            ValueError: for options that don't fit, in one sentence.
        """

    def trials(self, estimator: Estimator) -> tuple[Trial, ...]:
        """Return what theta is judged on: by default what it is trained on, at the longest horizon."""
        longest, members = estimator.horizon.bounds()[1], self.members()
        total = sum(member.weight for member in members.values())
        return tuple(Trial(n, m.dynamics, longest, m.weight / total) for n, m in members.items())

    def rivals(self, candidates: int) -> tuple[Rival, ...]:
        """Return what theta is compared with on the same episodes: nothing by default.

        Args:
            candidates: how many of each to choose the best from.
        """
        return ()

    def check(self, estimator: Estimator) -> None:  # noqa: B027 (most have nothing to check)
        """Refuse what does not go with an estimator, or with windows of its length.

        Raises:
            ValueError: saying what to choose instead.
        """

    def describe(self, theta: Theta) -> dict[str, float]:
        """Return numbers that tell a reader what theta is, by name: nothing by default.

        They are logged as `tuned/NAME` whenever theta is judged.
        """
        return {}

    def keep(self, run_dir: Path, theta: Theta) -> None:  # noqa: B027 (most read nothing from elsewhere)
        """Keep in a run's directory what `theta` read from elsewhere; the first copy stays.

        Args:
            run_dir: the run's directory.
            theta: as it was at the start.
        """

    def kept_in(self, run_dir: Path) -> Problem:
        """Return the problem with what `keep` kept in the place of what it was read from."""
        return self

    def about(self) -> dict[str, Any]:
        """Return, in JSON's types, what a published theta says of what it was trained on."""
        return {"trained_on": list(self.names)}

    @abc.abstractmethod
    def publish(self, theta: Theta, directory: Path, origin: dict[str, Any]) -> Path:
        """Write theta where others can use it.

        Args:
            theta: shaped like `theta`'s.
            directory: where to; made where it does not exist.
            origin: where theta comes from, in JSON's types.

        Returns:
            The directory.
        """


PROBLEMS: Registry[Problem] = Registry("problem", Problem)
"""What runs can be about, by name."""

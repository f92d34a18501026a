"""The interface of problems: what theta is, what it is trained and validated on, and how it is exported.

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
    """One of the systems that theta is trained on."""

    dynamics: Dynamics
    weight: float = 1.0
    """Its share of the gradient, relative to the sum of all weights."""


class Trial(NamedTuple):
    """One of the systems that theta is validated on."""

    label: str
    """Its name in metrics."""
    dynamics: Dynamics
    horizon: int
    """Inner steps; a multiple of the window."""
    weight: float = 1.0
    """The weights of a run sum to 1."""


class Rival(NamedTuple):
    """A reference that theta is compared with: the best of some candidates, for each trial."""

    name: str
    """Its name in metrics, such as tuned_adam."""
    title: str
    """Its name in plots."""
    thetas: Theta
    """The stacked candidates: they are the first axis of each leaf."""
    settings: tuple[float, ...]
    """The setting of each candidate, such as its learning rate."""


@dataclasses.dataclass(frozen=True)
class Problem(abc.ABC):
    """A problem; a frozen dataclass, and so its own configuration.

    Its fields are options of `lopt-train`; they hold strings, numbers, and tuples of them. A user's own
    problem is registered with `PROBLEMS.register("its-name")`, and chosen with `--problem its-name`.
    """

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of the members that theta is trained on, in order. Reads no data."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the `trials` that theta is validated on, in order. Reads no data."""
        return self.names

    @abc.abstractmethod
    def members(self) -> dict[str, Training]:
        """Return the systems that theta is trained on, by name; several make a mixture.

        Raises:
            ValueError: for unknown names, in one sentence.
        """

    @abc.abstractmethod
    def theta(self, key: Any) -> Theta:
        """Return the initial theta, a tree of float arrays. Reads no data.

        Args:
            key: a typed PRNG key.

        Raises:
            ValueError: for options that don't fit, in one sentence.
        """

    def trained(self, theta: Theta) -> Any:
        """Tell which leaves of theta are trained: a tree like it of True and False, or None for all.

        Raises:
            ValueError: if none is, or they are named by what theta does not have.
        """
        return None

    def trials(self, estimator: Estimator) -> tuple[Trial, ...]:
        """Return the trials that theta is validated on: by default the members, at the longest horizon."""
        longest, members = estimator.horizon.bounds()[1], self.members()
        total = sum(member.weight for member in members.values())
        return tuple(Trial(n, m.dynamics, longest, m.weight / total) for n, m in members.items())

    def rivals(self, candidates: int) -> tuple[Rival, ...]:
        """Return the references to compare theta with on the same episodes; none by default.

        Args:
            candidates: number of candidates of each to choose the best from.
        """
        return ()

    def check(self, estimator: Estimator) -> None:  # noqa: B027 (most have nothing to check)
        """Check that the problem fits an estimator and its window.

        Raises:
            ValueError: if it does not; the message says what to choose instead.
        """

    def describe(self, theta: Theta) -> dict[str, float]:
        """Return numbers that tell a reader what theta is, by name: nothing by default.

        They are logged as `tuned/NAME` whenever theta is judged.
        """
        return {}

    def keep(self, run_dir: Path, theta: Theta) -> None:  # noqa: B027 (most read nothing from elsewhere)
        """Copy files that `theta` read from elsewhere to a run's directory; an existing copy stays.

        Args:
            run_dir: the run's directory.
            theta: the initial theta.
        """

    def kept_in(self, run_dir: Path) -> Problem:
        """Return the problem with its files replaced by the copies made by `keep`."""
        return self

    def about(self) -> dict[str, Any]:
        """Return a description of the training problem for exported thetas, in JSON's types."""
        return {"trained_on": list(self.names)}

    @abc.abstractmethod
    def publish(self, theta: Theta, directory: Path, origin: dict[str, Any]) -> Path:
        """Export theta to a directory.

        Args:
            theta: a tree like the result of `theta`.
            directory: the target; created if necessary.
            origin: theta's provenance, in JSON's types.

        Returns:
            The directory.
        """


PROBLEMS: Registry[Problem] = Registry("problem", Problem)
"""All problems by name."""

"""A run as typed objects: its problem, method, length, placement and display."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lopt import UsageError

from ..estimators import Estimator
from ..problems.base import Problem
from .method_settings import MethodSettings
from .settings import Loop, Placement, Show, with_values

_MIXTURE_CLIP = 3.0
"""Bound on an estimate in a mixture, relative to its member's scale: no particle may dominate the others."""


@dataclasses.dataclass(frozen=True)
class Method(MethodSettings):
    """How theta is trained: the settings that decide each of its steps, and must not change during a run.

    Attributes:
        estimator: estimates the meta-gradient; it holds the horizon, the window and the objective.

    Raises:
        UsageError: for numbers out of range.
    """

    estimator: Estimator

    def populations(self, names: tuple[str, ...]) -> dict[str, int]:
        """Return the number of particles of each member.

        Raises:
            UsageError: if `task_particles` does not have one number for each.
        """
        given = self.task_particles or (self.particles,) * len(names)
        if len(given) != len(names):
            raise UsageError(
                f"--task-particles takes a number for each of {', '.join(names)}, not {len(given)}; or leave "
                "it out"
            )
        return dict(zip(names, given, strict=True))


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of meta-training.

    Attributes:
        problem: what theta is, what it is trained and validated on, and how it is exported.
        method: how it is trained. These two decide theta, and must not change on resuming.
        loop: the length of the run, and the intervals of validations and checkpoints. This and the following
            may change.
        placement: the devices.
        show: the display and trackers.

    Raises:
        UsageError: if the problem's members and the method's particles don't match.
    """

    problem: Problem
    method: Method
    loop: Loop = Loop()
    placement: Placement = Placement()
    show: Show = Show()

    def __post_init__(self) -> None:
        self.problem.check(self.method.estimator)
        self.method.populations(self.problem.names)

    def kept_in(self, run_dir: Path) -> Run:
        """Return the run with its problem's files taken from the copies in the run directory, if any."""
        return dataclasses.replace(self, problem=self.problem.kept_in(run_dir))

    @property
    def particle_bound(self) -> float | None:
        """Bound on the norm of one particle's estimate; None for no bound."""
        clip = self.method.particle_clip
        return _MIXTURE_CLIP if clip is None and len(self.problem.names) > 1 else clip

    def replace(self, **changes: Any) -> Run:
        """Return the run with other values of its loop, placement and show, by the fields' names.

        Raises:
            TypeError: for a name that is not one of their fields.
        """
        parts = {name: getattr(self, name) for name in ("loop", "placement", "show")}
        parts, others = with_values(parts, changes)
        return dataclasses.replace(self, **parts, **others)

"""What a run is: what theta is and is for, how it is trained, how far and where, and what is shown of it."""

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
"""Bound on an estimate in a mixture, over its member's scale: no particle may drown another member."""


@dataclasses.dataclass(frozen=True)
class Method(MethodSettings):
    """How theta is trained: what decides each of its steps, and must not change in the middle of a run.

    Attributes:
        estimator: gives the meta-gradient; it holds the horizon, the window and the objective.

    Raises:
        UsageError: for numbers out of range.
    """

    estimator: Estimator

    def populations(self, names: tuple[str, ...]) -> dict[str, int]:
        """Return the particles of each member.

        Raises:
            UsageError: when `task_particles` does not give one number for each.
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
        problem: what theta is, what it is trained on, judged on and published as.
        method: how it is trained. These two decide theta, and must not change on resuming.
        loop: how far, and how often it is looked at. This and what follows may change.
        placement: on which devices.
        show: where numbers go.

    Raises:
        UsageError: when the problem's members and the method's particles don't go together.
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
        """Return the run that starts from what its directory keeps, where its problem keeps anything."""
        return dataclasses.replace(self, problem=self.problem.kept_in(run_dir))

    @property
    def particle_bound(self) -> float | None:
        """Bound on the norm of one particle's estimate; None for no bound."""
        clip = self.method.particle_clip
        return _MIXTURE_CLIP if clip is None and len(self.problem.names) > 1 else clip

    def replace(self, **changes: Any) -> Run:
        """Return the run with other values of its loop, placement and show, by the fields' names.

        Raises:
            TypeError: for a name that is none of theirs.
        """
        parts = {name: getattr(self, name) for name in ("loop", "placement", "show")}
        parts, others = with_values(parts, changes)
        return dataclasses.replace(self, **parts, **others)

"""What a run is: what theta is and is for, how it is trained, how far and where, and what is shown of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from lopt import UsageError

from ..estimators import Estimator
from ..problems.base import Problem
from .ranges import SIZE, Range, check_ranges
from .settings import Loop, Placement, Show

_MIXTURE_CLIP = 3.0
"""Bound on an estimate in a mixture, over its member's scale: no particle may drown another member."""


@dataclasses.dataclass(frozen=True)
class Method:
    """How theta is trained: what decides each of its steps, and must not change in the middle of a run.

    Attributes:
        estimator: gives the meta-gradient; it holds the horizon, the window and the objective.
        particles: size of the population of each member of the problem; a particle is an antithetic pair.
        task_particles: particles of each member, in order; empty for `particles` of all.
        seed: of everything random.
        learning_rate: peak learning rate of the outer Adam.
        warmup: meta-steps of linear warm-up.
        final_rate: learning rate at the end, as a fraction of the peak (cosine decay).
        gradient_clip: bound on the norm of the averaged meta-gradient.
        particle_clip: bound on the norm of one particle's estimate, in a mixture in units of its member's
            scale. It is a bias: what is clipped counts for less. None for no bound, and for 3 in a mixture.

    Raises:
        UsageError: for numbers out of range.
    """

    estimator: Estimator
    particles: Annotated[int, Range(1, 2**20)] = 16
    task_particles: Annotated[tuple[int, ...], Range(1, 2**20)] = ()
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    learning_rate: Annotated[float, SIZE] = 3e-3
    warmup: Annotated[int, Range()] = 20
    final_rate: Annotated[float, Range(0, 1)] = 0.1
    gradient_clip: Annotated[float, SIZE] = 1.0
    particle_clip: Annotated[float | None, SIZE] = None

    def __post_init__(self) -> None:
        check_ranges(self)

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
        self.problem.check(self.method.estimator.window)
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
        for name, part in parts.items():
            own = {key: changes.pop(key) for key in [*changes] if hasattr(part, key)}
            parts[name] = dataclasses.replace(part, **own)
        return dataclasses.replace(self, **parts, **changes)

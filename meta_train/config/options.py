"""A run as flat options, the form of `lopt-train`'s flags, of presets and of older runs' files.

Importing this module imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal

import lopt
from lopt import UsageError

from ..problems.base import Problem
from ..problems.learned_optimizer import LearnedOptimizerTraining
from ..problems.options import parse_options
from .method_settings import MethodSettings
from .ranges import SIZE, Range, flag
from .settings import Loop, Placement, Show, with_values

if TYPE_CHECKING:
    from ..estimators import Estimator
    from ..horizons import Horizon
    from .run import Method, Run

PhaseName = Literal["lockstep", "staggered", "random"]
_SHARED = ("horizon", "window", "objective", "phase", "sigma")
"""Fields of estimators that have their own flags."""
_LENGTHS = {
    "low": "horizon_low",
    "high": "horizon_high",
    "steps": "horizon_high",
    "meta_steps": "horizon_meta_steps",
}
"""Fields of horizons that have their own flags."""


@dataclasses.dataclass(frozen=True)
class MethodOptions(MethodSettings):
    """How theta is trained; `method` creates the `Method`."""

    estimator: str = "pes"
    """Gradient estimator."""
    estimator_options: tuple[str, ...] = ()
    """Further options of the estimator, as NAME=VALUE."""
    window: Annotated[int, Range(1)] = 20
    """Inner steps per window (the truncation length)."""
    sigma: Annotated[float, SIZE] = 0.01
    """Standard deviation of the perturbations of theta."""
    phase: PhaseName = "staggered"
    """How particles are spread over an episode: lockstep, all at the same age; staggered, spread by cutting
    first episodes short; random, staggered, without updates until every first episode is over."""

    horizon: str = "log-uniform"
    """Distribution of episode lengths: constant, log-uniform, curriculum, or one of your own."""
    horizon_low: Annotated[int, Range(1)] = 100
    """Shortest episode in inner steps; a multiple of the window (not used by constant)."""
    horizon_high: Annotated[int, Range(1)] = 200
    """Longest episode in inner steps; a multiple of the window."""
    horizon_meta_steps: Annotated[int, Range(1)] = 1000
    """Meta-steps until a curriculum reaches the longest episode."""
    horizon_options: tuple[str, ...] = ()
    """Further options of the distribution, as NAME=VALUE."""

    objective: str = "mean"
    """Objective of an episode, a function of its losses: mean, sum, mean-log, last, minimum, or one of your
    own."""
    objective_options: tuple[str, ...] = ()
    """Options of the objective, as NAME=VALUE."""

    def __post_init__(self) -> None:
        MethodSettings.__post_init__(self)
        for name in ("estimator_options", "horizon_options", "objective_options"):
            parse_options(getattr(self, name), flag(name))

    def method(self) -> Method:
        """Create the method.

        Raises:
            UsageError: for unknown names and options, and numbers that don't fit together.
        """
        from .run import Method

        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(MethodSettings)}
        return Method(self._estimator(), **settings)

    def _estimator(self) -> Estimator:
        """Create the estimator; sigma is passed to those that perturb theta."""
        from ..estimators import ESTIMATORS
        from ..objectives import OBJECTIVES

        further = parse_options(self.estimator_options, "--estimator-options")
        for name in further.keys() & set(_SHARED):
            raise UsageError(f"--estimator-options can't set {name}, which --{name} sets")
        objective = parse_options(self.objective_options, "--objective-options")
        options: dict[str, Any] = {
            "horizon": self._horizon(),
            "window": self.window,
            "objective": OBJECTIVES.create(self.objective, **objective),
            "phase": self.phase,
        }
        known = ESTIMATORS.get(self.estimator)
        if known is not None and "sigma" in {field.name for field in dataclasses.fields(known)}:
            options["sigma"] = self.sigma
        return ESTIMATORS.create(self.estimator, **options, **further)

    def _horizon(self) -> Horizon:
        from ..horizons import HORIZONS

        law = lopt.look_up("horizon", HORIZONS, self.horizon)
        further = parse_options(self.horizon_options, "--horizon-options")
        for name in further.keys() & _LENGTHS.keys():
            raise UsageError(f"--horizon-options can't set {name}, which {flag(_LENGTHS[name])} sets")
        fields = {field.name for field in dataclasses.fields(law) if field.init}
        lengths = {name: getattr(self, option) for name, option in _LENGTHS.items() if name in fields}
        return HORIZONS.create(self.horizon, **lengths, **further)


@dataclasses.dataclass(frozen=True)
class Options:
    """A run as flat options, in groups; a preset is a set of their values."""

    problem: Problem = LearnedOptimizerTraining()
    method: MethodOptions = MethodOptions()
    loop: Loop = Loop()
    placement: Placement = Placement()
    show: Show = Show()

    @classmethod
    def of(cls, problem: Problem | None = None, **values: Any) -> Options:
        """Create options from values by their flat names; the others keep their defaults.

        Args:
            problem: the problem; default: a learned optimizer, whose fields may also be given in `values`.
            values: the fields of all groups, by name.

        Raises:
            TypeError: for a name that is not an option.
        """
        return cls(problem or LearnedOptimizerTraining()).replace(**values)

    def replace(self, **values: Any) -> Options:
        """Return a copy with other values, given by their flat names.

        Raises:
            TypeError: for a name that is not an option.
        """
        groups = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        groups, unknown = with_values(groups, values)
        if unknown:
            raise TypeError(f"a run has no option {min(unknown)!r}")
        return Options(**groups)

    def run(self) -> Run:
        """Create the run.

        Raises:
            UsageError: for unknown names and numbers that don't fit together, in one sentence.
        """
        from .run import Run

        return Run(self.problem, self.method.method(), self.loop, self.placement, self.show)


def flag_of(path: str) -> str:
    """Return the flag that sets the value at a path of a run's configuration."""
    *_, parent, name = ("", "", *path.split("."))
    if parent == "horizon":
        return flag(_LENGTHS.get(name, "horizon" if name == "kind" else f"horizon_options: {name}"))
    if name == "kind":
        return flag(parent)
    if parent in ("estimator", "objective") and name not in _SHARED:
        return f"--{parent}-options: {name}"
    return flag(name)

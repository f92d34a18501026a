"""Several runs side by side: their curves, the settings that differ, and which is ahead where."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lopt import UsageError

from ..host.files import read_object
from ..trackers import metrics
from .history import History, read_history
from .summary import RunSummary, summarize_run
from .written_settings import read_settings

_LEFT_OUT = ("--progress", "--tracker", "--wandb-", "--devices", "--backend", "--chunk", "--checkpoint-")
"""Settings that change nothing about the result."""
_JUDGED = ("--problem", "--task", "--validate-on", "--objective", "--horizon-high", "--validation-episodes")
"""Settings on which the validation's objective depends."""
MEASURES = {
    metrics.VALID_OBJECTIVE.name: "validation, best so far",
    metrics.LOSS.name: "meta-loss",
}
"""The metrics that are compared, with their titles; the first one tells who is ahead."""


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A part of an axis on which one run is ahead.

    Attributes:
        start: where it begins.
        end: where it ends.
        leader: the name of the run with the best validation so far.
    """

    start: float
    end: float
    leader: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        runs: the facts of each run, by its name here.
        histories: the records of each run.
        identities: where each run comes from: command, commit, versions, devices.
        differences: the settings that differ, by flag: the value of each run by its name.
        ahead: who is ahead, by axis ("inner_steps", "seconds"): as far as all runs were validated.
        unlike: flags that differ and decide what is validated; if there are any, the runs' objectives are
            not of the same thing.
    """

    runs: Mapping[str, RunSummary]
    histories: Mapping[str, History]
    identities: Mapping[str, dict[str, Any]]
    differences: Mapping[str, Mapping[str, Any]]
    ahead: Mapping[str, tuple[Stretch, ...]]
    unlike: tuple[str, ...]

    def curve(self, run: str, metric: str, over: str) -> tuple[list[float], list[float]]:
        """Return a run's values of one of `MEASURES` over an axis, as `History.series` does.

        Of validations these are the best values so far.
        """
        at, values = self.histories[run].series(metric, over)
        return at, _best_so_far(values) if metric == metrics.VALID_OBJECTIVE.name else values


def compare_runs(run_dirs: Sequence[str | Path]) -> Comparison:
    """Read several runs and compare them.

    Raises:
        UsageError: if there are fewer than two, one is given twice, or one is damaged or not a run.
    """
    paths = [Path(one) for one in run_dirs]
    if len(paths) < 2:
        raise UsageError("comparing takes at least two runs")
    if len({one.resolve() for one in paths}) < len(paths):
        raise UsageError("comparing takes each run once")
    runs = dict(zip(_names(paths), map(summarize_run, paths), strict=True))
    for one in runs.values():
        if one.state == "damaged":
            raise UsageError(f"{one.path} is damaged: {one.why}")
    histories, settings = {}, {}
    for name, one in runs.items():
        try:
            histories[name] = read_history(one.path)
            settings[name] = read_settings(one.path / "config.json").by_flag
        except UsageError as error:
            raise UsageError(f"{one.path} is damaged: {error}") from error
    differences = _differences(settings)
    return Comparison(
        runs=runs,
        histories=histories,
        identities={name: read_object(one.path / "run.json") or {} for name, one in runs.items()},
        differences=differences,
        ahead={axis: _ahead(histories, axis) for axis in ("inner_steps", "seconds")},
        unlike=tuple(flag for flag in differences if flag in _JUDGED),
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that distinguish them."""
    parts = [one.resolve().parts for one in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(one) for one in paths]


def _differences(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    flags = dict.fromkeys(flag for one in settings.values() for flag in one if not flag.startswith(_LEFT_OUT))
    found = {flag: {name: one.get(flag) for name, one in settings.items()} for flag in flags}
    return {flag: each for flag, each in found.items() if len({repr(value) for value in each.values()}) > 1}


def _ahead(histories: Mapping[str, History], axis: str) -> tuple[Stretch, ...]:
    """Return who has the best validation so far, on each stretch of an axis that all runs cover."""
    curves = {}
    for name, history in histories.items():
        at, values = history.series(metrics.VALID_OBJECTIVE.name, axis)
        if not at:
            return ()
        curves[name] = (at, _best_so_far(values))
    first, last = (pick(at[end] for at, _ in curves.values()) for pick, end in ((max, 0), (min, -1)))
    places = sorted({x for at, _ in curves.values() for x in at if first <= x <= last})
    stretches: list[Stretch] = []
    for start, end in zip(places, [*places[1:], last], strict=True):
        best = {name: values[bisect.bisect_right(at, start) - 1] for name, (at, values) in curves.items()}
        leader = min(best, key=lambda name: best[name])
        if list(best.values()).count(best[leader]) > 1:
            leader = "equal"
        if stretches and stretches[-1].leader == leader:
            stretches[-1] = dataclasses.replace(stretches[-1], end=end)
        else:
            stretches.append(Stretch(start, end, leader))
    return tuple(stretches)


def _best_so_far(values: Sequence[float]) -> list[float]:
    best, found = float("inf"), []
    for value in values:
        best = min(best, value)
        found.append(best)
    return found

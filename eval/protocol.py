"""The benchmark itself: tune the baselines, train with every optimizer, measure."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from lopt import LearnedOptimizer, UsageError
from meta_train import provenance, usable_cores
from tasks import Split
from tasks import build as build_task

from .statistics.from_curves import make_row, rounded, thinned
from .statistics.results import Results, TaskResult
from .training.baselines import BASELINES, REFERENCE, STANDARD, Baseline, Tuned, choose, families, tune, whole
from .training.costs import Cost, measure_costs
from .training.curves import Curves, training_curves
from .training.entries import Entry, Suite
from .training.partial_results import PartialResults
from .training.timing import seconds_per_step
from .training.tuned_cache import Runs, TunedCache

Progress = Callable[[int, int, str], None]
"""Called with the number of work items done, their total number, and a description of the next one."""


def benchmark(
    optimizers: Mapping[str, LearnedOptimizer | Baseline],
    suite: Suite,
    seeds: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    held_out: Split = "test",
    baselines: Mapping[str, Baseline] | None = None,
    cache: TunedCache | None = None,
    unfinished: PartialResults | None = None,
    origins: Mapping[str, Any] | None = None,
    command: str = "",
    timings: bool = True,
) -> Results:
    """Compare optimizers with tuned baselines on every task of a suite.

    Args:
        optimizers: the optimizers by their names in reports; a baseline may be among them.
        suite: the tasks and horizons.
        seeds: training runs per optimizer, rate and task; for every optimizer, they have the same instances,
            initialisations and batches.
        seed: the seed of the runs.
        progress: called before every work item and at the end.
        held_out: the split of the held-out loss; choose among thetas on "outer_valid", report on "test".
        baselines: the baselines to compare with, which must include "adam", because speed-ups are relative to
            it; default: the standard ones. See `choose`.
        cache: the cache of tuned baselines; None tunes all, and stores nothing.
        unfinished: storage for finished runs of learned optimizers, so that the next call can continue after
            an interruption; None stores nothing.
        origins: the provenance of each learned optimizer, for the report.
        command: the command line, for the report.
        timings: whether to time inner steps and updates; beside other work on the machine this would mislead.

    Raises:
        UsageError: for an unknown task, no seeds, a name of a baseline, or no "adam".
        DatasetNotPreparedError: if a task needs data that is not on this machine.
    """
    learned = {name: rule for name, rule in optimizers.items() if isinstance(rule, LearnedOptimizer)}
    baselines = dict(choose(STANDARD) if baselines is None else baselines)
    baselines |= {name: one for name, one in optimizers.items() if isinstance(one, Baseline)}
    _check(learned, baselines, seeds)
    # Built before any is run, so that missing data is reported immediately.
    problems = {entry.task: build_task(entry.task) for entry in suite.entries}
    runs = {
        (task, horizon): Runs(task, problems[task], horizon, seed, seeds, held_out)
        for task, horizon in dict.fromkeys((entry.task, entry.horizon) for entry in suite.entries)
    }
    entries = {entry: runs[entry.task, entry.horizon] for entry in suite.entries}
    report = _Countdown(progress)
    timed = [name for name in optimizers if name != REFERENCE] if timings else []
    work = _Work(learned, baselines, timed, report, cache, unfinished)
    report.total = work.pieces(entries)
    tasks = []
    for entry, its in entries.items():
        tasks.append(work.do(entry, its))
        # Programs hold memory maps, of which Linux allows a process 65,530; a long suite ran out of them.
        jax.clear_caches()
    environment = provenance(command) | {"platform": platform.platform(), "cores": usable_cores()}
    if cache is not None and cache.reused:
        environment["reused_baselines"] = [f"{count} from {where}" for where, count in cache.reused.items()]
    return Results(
        suite=suite.name,
        tests=suite.tests,
        subjects=tuple(optimizers),
        reference=REFERENCE,
        seeds=seeds,
        seed=seed,
        held_out=held_out,
        tasks=tuple(tasks),
        origins=dict(origins or {}),
        environment=environment,
        costs=_costs(learned) if timings else {},
    )


def _costs(learned: Mapping[str, LearnedOptimizer]) -> dict[str, Cost]:
    """Measure the cost of learned optimizers' updates relative to Adam's, which takes seconds."""
    if not learned:
        return {}
    return measure_costs({REFERENCE: BASELINES[REFERENCE].rule(1e-3), **learned}, REFERENCE)


def _check(learned: Mapping[str, Any], baselines: Mapping[str, Baseline], seeds: int) -> None:
    if seeds < 1:
        raise UsageError(f"there must be at least 1 seed, not {seeds}")
    if taken := sorted(learned.keys() & baselines.keys()):
        raise UsageError(f"{taken[0]!r} is the name of a baseline: call the learned optimizer something else")
    if REFERENCE not in baselines:
        raise UsageError(f"{REFERENCE!r} must be among the baselines: speed-ups are against it")


class _Countdown:
    """Counts work items for an optional progress callback."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self.total, self._done = progress, 0, 0

    def next(self, what: str) -> None:
        if self._progress is not None:
            self._progress(self._done, self.total, what)

    def done(self) -> None:
        self._done += 1
        if self._done == self.total:
            self.next("done")


@dataclasses.dataclass
class _Work:
    """Does the work items of a benchmark, each once: entries with different declared horizons share them."""

    learned: Mapping[str, LearnedOptimizer]
    baselines: Mapping[str, Baseline]
    timed: Sequence[str]
    """Names of the optimizers that are timed, besides the reference."""
    report: _Countdown
    cache: TunedCache | None
    unfinished: PartialResults | None
    _tuned: dict[Runs, dict[str, Tuned]] = dataclasses.field(default_factory=dict)
    _trained: dict[tuple[str, Runs, int], Curves] = dataclasses.field(default_factory=dict)
    _seconds: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

    def pieces(self, entries: Mapping[Entry, Runs]) -> int:
        """Return the number of work items."""
        runs = set(entries.values())
        trained = {
            (name, entries[one], _told(rule, one)) for one in entries for name, rule in self.learned.items()
        }
        timings = len({one.name for one in runs}) if self.timed else 0
        return len(runs) * len(families(self.baselines)) + len(trained) + timings

    def do(self, entry: Entry, runs: Runs) -> TaskResult:
        """Run every optimizer on one task."""
        tuned = self._tune(runs)
        trained = {name: self._train(name, entry, runs) for name in self.learned}
        seconds = self._time(runs, tuned) if self.timed else {}
        reference = tuned[REFERENCE].curves.train
        rows = [
            make_row(name, name, None, curves, reference, seconds.get(name))
            for name, curves in trained.items()
        ]
        rows += [
            make_row(name, one.label, tuned[name], tuned[name].curves, reference, seconds.get(name))
            for name, one in self.baselines.items()
        ]
        return TaskResult(
            task=runs.name,
            horizon=runs.horizon,
            curve_steps=rounded(thinned(np.arange(1.0, runs.horizon + 1))),
            held_out_steps=tuned[REFERENCE].curves.steps,
            rows=tuple(rows),
            declared=entry.declared,
            part=entry.part,
        )

    def _tune(self, runs: Runs) -> dict[str, Tuned]:
        if runs in self._tuned:
            return self._tuned[runs]
        tuned: dict[str, Tuned] = {}
        for asked in families(self.baselines):
            family = whole(asked)
            rates = sum(len(baseline.rates) for baseline in family.values())
            self.report.next(f"{', '.join(asked)} on {runs.name} ({rates} rates)")
            fresh = partial(tune, family, runs.task, runs.horizon, runs.keys, split=runs.held_out)
            tuned |= fresh() if self.cache is None else self.cache.get(family, runs, fresh)
            self.report.done()
        return self._tuned.setdefault(runs, tuned)

    def _train(self, name: str, entry: Entry, runs: Runs) -> Curves:
        rule = self.learned[name]
        told = _told(rule, entry)
        if (name, runs, told) in self._trained:
            return self._trained[name, runs, told]
        self.report.next(f"{name} on {runs.name}" + (f" (told {told} steps)" if told != runs.horizon else ""))
        options: dict[str, Any] = {"declared": told, "split": runs.held_out}
        fresh = partial(training_curves, rule, runs.task, runs.horizon, runs.keys, **options)
        curves = fresh() if self.unfinished is None else self.unfinished.get(rule, runs, told, fresh)
        self.report.done()
        return self._trained.setdefault((name, runs, told), curves)

    def _time(self, runs: Runs, tuned: Mapping[str, Tuned]) -> dict[str, float]:
        """Time an inner step, once per task for all horizons."""
        if runs.name not in self._seconds:
            self.report.next(f"timing on {runs.name}")
            rules = {
                name: self.learned[name]
                if name in self.learned
                else self.baselines[name].rule(tuned[name].rate)
                for name in (REFERENCE, *self.timed)
            }
            options: dict[str, Any] = {"split": runs.held_out}
            self._seconds[runs.name] = seconds_per_step(rules, runs.task, runs.horizon, runs.keys, **options)
            self.report.done()
        return self._seconds[runs.name]


def _told(rule: LearnedOptimizer, entry: Entry) -> int:
    """Return the horizon that a rule is given: the true one if it does not need one."""
    return entry.declared_steps if rule.needs_horizon else entry.horizon

"""The benchmark itself: tune the baselines, train with every optimizer, measure."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from lopt import LearnedOptimizer
from meta_train import provenance
from tasks import Split
from tasks import build as build_task

from .baselines import REFERENCE, STANDARD, Baseline, Tuned, adam, choose, families, tune
from .costs import Cost, measure_costs
from .curves import Curves, training_curves
from .metrics import final_loss, mean_loss, speed_up, steps_to_target, target_of
from .results import Results, Row, TaskResult
from .rules import OptaxRule
from .suites import Suite
from .tuned_cache import Runs, TunedCache

Progress = Callable[[int, int, str], None]
"""Called with how many pieces of work are done, how many there are, and what comes next."""
CURVE_POINTS = 250
"""Most points of a training curve in the results."""


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
    origins: Mapping[str, Any] | None = None,
    command: str = "",
) -> Results:
    """Compare optimizers with tuned baselines on every task of a suite.

    Args:
        optimizers: by the names that reports call them; a baseline stands for itself.
        suite: the tasks and horizons.
        seeds: training runs per optimizer, rate and task; each sees the same instances, initialisations
            and batches whatever the optimizer.
        seed: what they are drawn from.
        progress: told before every piece of work and at the end.
        held_out: the split of the held-out loss; choose among thetas on "outer_valid", report on "test".
        baselines: what to compare with, "adam" among them, since speed-ups are against it; default: the
            standard ones. See `choose`.
        cache: where tuned baselines are kept; None tunes all, and keeps none.
        origins: where each learned optimizer comes from, for the report.
        command: what was typed, for the report.

    Raises:
        ValueError: for an unknown task, no seeds, a name that a baseline has already, no "adam".
        DatasetNotPreparedError: when a task needs data that is not on this machine.
    """
    learned = {name: rule for name, rule in optimizers.items() if isinstance(rule, LearnedOptimizer)}
    baselines = dict(choose(STANDARD) if baselines is None else baselines)
    baselines |= {name: one for name, one in optimizers.items() if isinstance(one, Baseline)}
    _check(learned, baselines, seeds)
    # Built before any is run, so that missing data is told at once.
    problems = {entry.task: build_task(entry.task) for entry in suite.entries}
    runs = [Runs(e.task, problems[e.task], e.horizon, seed, seeds, held_out) for e in suite.entries]
    pieces = len(suite.entries) * (len(learned) + len(families(baselines)))
    report = _Countdown(progress, pieces)
    tasks = tuple(_run_task(one, learned, baselines, report, cache) for one in runs)
    environment = provenance(command) | {"platform": platform.platform(), "cores": os.cpu_count()}
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
        tasks=tasks,
        origins=dict(origins or {}),
        environment=environment,
        costs=_costs(learned),
    )


def _costs(learned: Mapping[str, LearnedOptimizer]) -> dict[str, Cost]:
    """Measure what updates of learned optimizers cost, beside Adam's; that takes seconds."""
    if not learned:
        return {}
    reference = OptaxRule.create(jax.random.key(0), adam, learning_rate=1e-3)
    return measure_costs({REFERENCE: reference, **learned}, REFERENCE)


def _check(learned: Mapping[str, Any], baselines: Mapping[str, Baseline], seeds: int) -> None:
    if seeds < 1:
        raise ValueError(f"there must be at least 1 seed, not {seeds}")
    if taken := sorted(learned.keys() & baselines.keys()):
        raise ValueError(f"{taken[0]!r} is the name of a baseline: call the learned optimizer something else")
    if REFERENCE not in baselines:
        raise ValueError(f"{REFERENCE!r} must be among the baselines: speed-ups are against it")


class _Countdown:
    """Counts pieces of work for a progress callback, which may be missing."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def next(self, what: str) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, what)

    def done(self) -> None:
        self._done += 1
        if self._done == self._total:
            self.next("done")


def _run_task(
    runs: Runs,
    learned: Mapping[str, LearnedOptimizer],
    baselines: Mapping[str, Baseline],
    report: _Countdown,
    cache: TunedCache | None,
) -> TaskResult:
    task, horizon, keys, split = runs.task, runs.horizon, runs.keys, runs.held_out
    tuned: dict[str, Tuned] = {}
    for family in families(baselines):
        rates = sum(len(baseline.rates) for baseline in family.values())
        report.next(f"{', '.join(family)} on {runs.name} ({rates} rates)")
        fresh = partial(tune, family, task, horizon, keys, split=split)
        tuned |= fresh() if cache is None else cache.get(family, runs, fresh)
        report.done()
    reference = tuned[REFERENCE].curves.train
    rows = []
    for name, rule in learned.items():
        report.next(f"{name} on {runs.name}")
        curves = training_curves(rule, task, horizon, keys, split=split)
        rows.append(_row(name, name, None, curves, reference))
        report.done()
    rows += [
        _row(name, baseline.label, tuned[name], tuned[name].curves, reference)
        for name, baseline in baselines.items()
    ]
    return TaskResult(
        task=runs.name,
        horizon=horizon,
        curve_steps=_rounded(_thinned(np.arange(1.0, horizon + 1))),
        held_out_steps=tuned[REFERENCE].curves.steps,
        rows=tuple(rows),
    )


def _row(name: str, label: str, tuned: Tuned | None, curves: Curves, reference: np.ndarray) -> Row:
    """Judge one optimizer's runs by those of the reference."""
    swept = tuned is not None and len(tuned.scores) > 1
    return Row(
        optimizer=name,
        label=label,
        kind="learned" if tuned is None else "tuned" if swept else "untuned",
        rate=None if tuned is None else tuned.rate,
        sweep=tuple(zip(tuned.rates, tuned.scores, strict=True)) if tuned and swept else (),
        mean_loss=_floats(mean_loss(curves.train)),
        final_loss=_floats(final_loss(curves.train)),
        held_out_loss=_floats(curves.held_out[:, -1]),
        steps_to_target=_or_never(steps_to_target(curves.train, target_of(reference))),
        speed_up=_or_never(speed_up(curves.train, reference)),
        diverged=tuple(bool(flag) for flag in curves.diverged),
        train_curves=tuple(_rounded(_thinned(curve)) for curve in curves.train),
        held_out_curves=tuple(_rounded(curve) for curve in curves.held_out),
    )


def _thinned(curve: np.ndarray) -> np.ndarray:
    """Average neighbouring steps, so that at most `CURVE_POINTS` are left."""
    if len(curve) <= CURVE_POINTS:
        return curve
    return np.array([block.mean() for block in np.array_split(curve, CURVE_POINTS)])


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Round to six digits: curves are for the eye, and files stay small."""
    return tuple(float(f"{value:.6g}") for value in values)


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _or_never(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)

"""The periodic evaluation of a run: validation, comparison with references, hysteresis, and theta itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..config.run import Run
from ..host.processes import from_main, is_main
from ..population.hysteresis import make_hysteresis_probe
from ..population.mesh import first_particles, local_copy
from ..population.phases import MetaState
from ..problems.base import Rival
from ..trackers import metrics
from ..trackers.values import Curves, Histogram, Value
from .directory import RunDirectory
from .parts import Parts
from .references import read_references, write_references
from .validation import Judge, Judgement, Reference

_BINS = 32


class Evaluation:
    """Evaluates a run's state. Every process calls it; only process 0 computes values for trackers.

    Args:
        run: the run.
        parts: the parts of the run.
        directory: the run's directory, where the references' results are stored.
    """

    def __init__(self, run: Run, parts: Parts, directory: RunDirectory) -> None:
        self._loop, self._directory = run.loop, directory
        episodes = run.loop.validation_episodes
        self._judges = {
            trial.label: Judge(trial, parts.estimator, episodes, parts.key) for trial in parts.trials
        }
        self._weights = {trial.label: trial.weight for trial in parts.trials}
        self._rivals: Mapping[str, Rival] | None = None
        self._make_rivals = run.problem.rivals
        self._describe = run.problem.describe
        self._references: dict[str, dict[str, Reference]] = {}
        # Only the first member's particles are replayed; the first of them are on process 0.
        member = parts.mixture.members[0]
        self._first, self._dynamics = member.name, parts.dynamics[member.name]
        self._replayed = min(run.loop.hysteresis_particles, member.particles // jax.process_count())
        self._probe = make_hysteresis_probe(parts.estimator, self._replayed, parts.part)

    def __call__(self, state: MetaState, particles: Any) -> dict[str, Value]:
        """Return values by metric; those of the validation are process 0's in all processes."""
        judged = from_main({label: judge(state.theta) for label, judge in self._judges.items()})
        values: dict[str, Value] = {
            metrics.VALID_OBJECTIVE.name: self._mean({label: one.objective for label, one in judged.items()}),
            metrics.VALID_DIVERGED.name: self._mean({label: one.diverged for label, one in judged.items()}),
        }
        if not is_main():
            return values
        values |= self._compare(judged) | self._hysteresis(state, particles) | describe(state.theta)
        told = self._describe(local_copy(state.theta))
        return values | {metrics.TUNED.of(name): number for name, number in told.items()}

    def _mean(self, of: Mapping[str, Any]) -> float:
        return float(sum(self._weights[label] * float(value) for label, value in of.items()))

    def _compare(self, judged: Mapping[str, Judgement]) -> dict[str, Value]:
        """Return curves and final losses, with the references'; for several trials also objectives."""
        if self._rivals is None:
            self._rivals = {rival.name: rival for rival in self._make_rivals(self._loop.reference_rates)}
            self._references = self._judge_rivals(self._rivals)
        values: dict[str, Value] = {}
        for label, one in judged.items():
            lines = {"learned": tuple(float(x) for x in one.curve)}
            values[metrics.FINAL_LOSS.of(label)] = lines["learned"][-1]
            lines |= {r.title: self._references[name][label].curve for name, r in self._rivals.items()}
            values[metrics.CURVE.of(label)] = Curves(self._judges[label].steps, lines)
            if len(judged) > 1:
                values[metrics.TRIAL_OBJECTIVE.of(label)] = float(one.objective)
                for name, found in self._references.items():
                    values[metrics.of_rival(name, label)] = found[label].objective
        for name, found in self._references.items():
            values[metrics.of_rival(name)] = self._mean(
                {label: one.objective for label, one in found.items()}
            )
        return values

    def _judge_rivals(self, rivals: Mapping[str, Rival]) -> dict[str, dict[str, Reference]]:
        """Evaluate the references once per run, and again if the validation's options have changed."""
        options = {"episodes": self._loop.validation_episodes, "rates": self._loop.reference_rates}
        points = {label: len(judge.steps) for label, judge in self._judges.items()}
        kept = read_references(self._directory.reference, options, rivals, points)
        if kept is not None or not rivals:
            return kept or {}
        found = {
            name: {label: judge.best_of(rival) for label, judge in self._judges.items()}
            for name, rival in rivals.items()
        }
        write_references(self._directory.reference, options, found)
        return found

    def _hysteresis(self, state: MetaState, particles: Any) -> dict[str, Value]:
        if self._replayed == 0:
            return {}
        members = first_particles(particles[self._first], self._replayed)
        return {metrics.HYSTERESIS.name: float(self._probe(local_copy(state), members, self._dynamics))}


def describe(theta: Any) -> dict[str, Value]:
    """Return the value of each leaf of theta that is a single number, and the histogram of the others."""
    values: dict[str, Value] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(local_copy(theta))):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if leaf.size == 1:
            values[metrics.THETA_VALUE.of(name)] = float(leaf.reshape(()))
        elif np.all(np.isfinite(leaf)):
            counts, edges = np.histogram(leaf, _BINS)
            values[metrics.THETA_HISTOGRAM.of(name)] = Histogram(
                tuple(map(float, edges)), tuple(map(int, counts))
            )
    return values

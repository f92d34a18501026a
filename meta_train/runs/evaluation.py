"""What a run looks at from time to time: its validation, a tuned Adam beside it, hysteresis, theta itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..config.build import Parts
from ..config.run import RunConfig
from ..host.processes import from_main, is_main
from ..population.hysteresis import make_hysteresis_probe
from ..population.mesh import first_particles, local_copy
from ..population.step import MetaState
from ..trackers.metrics import grouped
from ..trackers.values import Curves, Histogram, Value
from .directory import RunDirectory, write_whole
from .validation import Judge, Judgement, Reference

_BINS = 32


class Evaluation:
    """Evaluates a run's state. Every process calls it; what only trackers want is process 0's work.

    Args:
        config: the run's.
        parts: the run's.
        directory: the run's; the tuned Adam is kept there.
    """

    def __init__(self, config: RunConfig, parts: Parts, directory: RunDirectory) -> None:
        self._config, self._directory = config, directory
        self._judges = {one.label: Judge(parts, one, config.validation_episodes) for one in parts.judged}
        self._weights = {one.label: one.weight for one in parts.judged}
        # The first ones are on process 0; of a mixture's tasks, the first.
        member = parts.mixture.members[0]
        self._first, self._dynamics = member.name, parts.dynamics[member.name]
        self._replayed = min(config.hysteresis_particles, member.particles // jax.process_count())
        self._probe = make_hysteresis_probe(parts.estimator, self._replayed)
        self._references: dict[str, Reference] = {}

    def __call__(self, state: MetaState, particles: Any) -> dict[str, Value]:
        """Return grouped values, `meta/valid_objective` among them: process 0's number in all processes."""
        judged = from_main({label: judge(state.theta) for label, judge in self._judges.items()})
        values: dict[str, Value] = {
            "meta/valid_objective": self._mean({label: one.objective for label, one in judged.items()}),
            "robust/valid_diverged": self._mean({label: one.diverged for label, one in judged.items()}),
        }
        if not is_main():
            return values
        return values | self._compare(judged) | self._hysteresis(state, particles) | describe(state.theta)

    def _mean(self, of: Mapping[str, Any]) -> float:
        return float(sum(self._weights[label] * float(value) for label, value in of.items()))

    def _compare(self, judged: Mapping[str, Judgement]) -> dict[str, Value]:
        """Return curves and final losses, beside a tuned Adam's; where tasks are several, objectives too."""
        if self._config.reference_rates and not self._references:
            self._references = self._tuned_adams()
        values: dict[str, Value] = {}
        for label, one in judged.items():
            place, adam = f"tasks/{label}", self._references.get(label)
            lines = {"learned": tuple(float(x) for x in one.curve)}
            values[f"{place}/final_loss"] = lines["learned"][-1]
            if adam is not None:
                lines["tuned Adam"] = adam.curve
            values[f"{place}/curve"] = Curves(self._judges[label].steps, lines)
            if len(judged) > 1:
                values[f"{place}/valid_objective"] = float(one.objective)
                values |= {} if adam is None else {f"{place}/tuned_adam": adam.objective}
        if self._references:
            adams = {label: adam.objective for label, adam in self._references.items()}
            values["meta/tuned_adam"] = self._mean(adams)
        return values

    def _tuned_adams(self) -> dict[str, Reference]:
        """Tune Adam once in the life of a run, but for options of the validation that have changed since."""
        file = self._directory.reference
        options = {"episodes": self._config.validation_episodes, "rates": self._config.reference_rates}
        kept = json.loads(file.read_text()) if file.is_file() else {}
        if kept.get("options") == options and kept.get("adams", {}).keys() == self._judges.keys():
            return {
                label: Reference(adam["rate"], adam["objective"], tuple(adam["curve"]))
                for label, adam in kept["adams"].items()
            }
        found = {label: judge.tuned_adam(options["rates"]) for label, judge in self._judges.items()}
        adams = {label: adam._asdict() for label, adam in found.items()}
        write_whole(file, json.dumps({"options": options, "adams": adams}, indent=1) + "\n")
        return found

    def _hysteresis(self, state: MetaState, particles: Any) -> dict[str, Value]:
        if self._replayed == 0:
            return {}
        members = first_particles(particles[self._first], self._replayed)
        return grouped({"hysteresis": float(self._probe(local_copy(state), members, self._dynamics))})


def describe(theta: Any) -> dict[str, Value]:
    """Return each leaf of theta: its value where it is one number, and otherwise its distribution."""
    values: dict[str, Value] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(local_copy(theta))):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if leaf.size == 1:
            values[f"theta/value/{name}"] = float(leaf.reshape(()))
        elif np.all(np.isfinite(leaf)):
            counts, edges = np.histogram(leaf, _BINS)
            values[f"theta/histogram/{name}"] = Histogram(tuple(map(float, edges)), tuple(map(int, counts)))
    return values

"""What a run looks at from time to time: its validation, a tuned Adam beside it, hysteresis, theta itself."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np

from .build import Parts
from .config import RunConfig
from .hysteresis import make_hysteresis_probe
from .mesh import first_particles, local_copy
from .metrics import grouped
from .processes import from_main, is_main
from .run_directory import RunDirectory, write_whole
from .step import MetaState
from .trackers.values import Curves, Histogram, Value
from .validation import Judge, Reference

_BINS = 32


class Evaluation:
    """Evaluates a run's state. Every process calls it; what only trackers want is process 0's work.

    Args:
        config: the run's.
        parts: the run's.
        directory: the run's; the tuned Adam is kept there.
    """

    def __init__(self, config: RunConfig, parts: Parts, directory: RunDirectory) -> None:
        self._config, self._dynamics, self._directory = config, parts.dynamics, directory
        self._judge = Judge(parts, config.validation_episodes)
        # The first ones are on process 0.
        self._replayed = min(config.hysteresis_particles, config.particles // jax.process_count())
        self._probe = make_hysteresis_probe(parts.estimator, self._replayed)
        self._reference: Reference | None = None

    def __call__(self, state: MetaState, particles: Any) -> dict[str, Value]:
        """Return grouped values, `meta/valid_objective` among them: process 0's number in all processes."""
        judged = from_main(self._judge(state.theta))
        values: dict[str, Value] = {
            "meta/valid_objective": float(judged.objective),
            "robust/valid_diverged": float(judged.diverged),
        }
        if not is_main():
            return values
        return (
            values | self._compare(judged.curve) | self._hysteresis(state, particles) | describe(state.theta)
        )

    def _compare(self, curve: np.ndarray) -> dict[str, Value]:
        task = self._config.task
        lines = {"learned": tuple(float(x) for x in curve)}
        values: dict[str, Value] = {f"tasks/{task}/final_loss": float(curve[-1])}
        if self._config.reference_rates:
            self._reference = self._reference or self._tuned_adam()
            lines["tuned Adam"] = self._reference.curve
            values["meta/tuned_adam"] = self._reference.objective
        return values | {f"tasks/{task}/curve": Curves(self._judge.steps, lines)}

    def _tuned_adam(self) -> Reference:
        """Tune Adam once in the life of a run, but for options of the validation that have changed since."""
        file = self._directory.reference
        options = {"episodes": self._config.validation_episodes, "rates": self._config.reference_rates}
        if file.is_file():
            kept = json.loads(file.read_text())
            if kept["options"] == options:
                return Reference(kept["rate"], kept["objective"], tuple(kept["curve"]))
        reference = self._judge.tuned_adam(self._config.reference_rates)
        write_whole(file, json.dumps({"options": options} | reference._asdict(), indent=1) + "\n")
        return reference

    def _hysteresis(self, state: MetaState, particles: Any) -> dict[str, Value]:
        if self._replayed == 0:
            return {}
        members = first_particles(particles, self._replayed)
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

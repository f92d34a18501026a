"""Stores finished runs of learned optimizers until the report is written, so a benchmark can resume.

Tuned baselines are stored separately and permanently: see `tuned_cache`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lopt import LearnedOptimizer

from ..file_names import file_stem
from .answer_files import UnusableError, decode_curves, encode_curves, read_record, write_record
from .curves import Curves
from .tuned_cache import Runs, made_now


@dataclasses.dataclass
class PartialResults:
    """Finished runs in files, one per task and optimizer, until the benchmark is complete."""

    directory: Path
    command: str = ""
    """The command line, to be recorded."""
    tell: Callable[[str], object] = lambda sentence: None
    """Called with a sentence for each existing file that is not used, or that can't be written."""
    _made: dict[str, Any] = dataclasses.field(default_factory=dict)

    def get(self, rule: LearnedOptimizer, runs: Runs, declared: int, make: Callable[[], Curves]) -> Curves:
        """Return a rule's runs: from their file, or otherwise from `make`, whose result is written.

        Args:
            rule: the optimizer.
            runs: the task and settings of the runs.
            declared: the horizon that it is given, in inner steps.
            make: a function that does the runs.
        """
        self._made = self._made or made_now(self.command)
        question = self._question(rule, runs, declared)
        stem = file_stem(f"{runs.name}-{runs.horizon}-{declared}")
        path = self.directory / f"{stem}-{question['theta'][:12]}.json"
        try:
            return decode_curves(read_record(path, question, runs.start)["answer"])
        except FileNotFoundError:
            pass
        except (OSError, UnusableError) as error:
            self.tell(f"{path} is not used: {error}")
        curves = make()
        answer = encode_curves(curves)
        record = {"question": question, "start": runs.start, "answer": answer, "provenance": self._made}
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_record(path, record)
        except OSError as error:  # The runs are done, so continue without the file.
            self.tell(f"{path} can't be written: {error}")
        return curves

    def remove(self) -> None:
        """Remove the files, and the directory if it is empty then: the report has all results."""
        for path in self.directory.glob("*.json"):
            path.unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _question(self, rule: LearnedOptimizer, runs: Runs, declared: int) -> dict[str, Any]:
        return {
            "task": runs.name,
            "ceiling": runs.task.ceiling,
            "horizon": runs.horizon,
            "declared": declared,
            "seed": runs.seed,
            "seeds": runs.seeds,
            "held_out": runs.held_out,
            "theta": theta_digest(rule),
            "commit": self._made["commit"],
            "versions": self._made["versions"],
        }


def theta_digest(rule: LearnedOptimizer) -> str:
    """Return a hash of a rule's class, static fields and arrays."""
    leaves, structure = jax.tree.flatten(rule)
    # The tree structure of a flax dataclass includes its class and static fields. A function among
    # these shows its address, which differs between processes.
    text = re.sub(r" at 0x[0-9a-f]+", "", str(structure))
    digest = hashlib.sha256(f"{type(rule).__module__} {text}".encode())
    for leaf in map(np.asarray, jax.device_get(leaves)):
        digest.update(f"{leaf.dtype} {leaf.shape}".encode() + leaf.tobytes())
    return digest.hexdigest()

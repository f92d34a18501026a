"""A cache of tuned baselines, so that a sweep is run only once.

A file TASK-HORIZON-BASELINE.json holds the answer to one question: the results of a baseline tuned on a task.
It is used if all entries of the question are the same, and the runs start from the same losses. The results
are then those of a fresh run, bit for bit if machine and versions are the same. Files are looked up first in
the user's own directory, then among those that come with lopt: the strong baselines on `hyper-free`, which
are recreated, in a checkout, by

    lopt-eval adam --suite hyper-free --baselines strong --retune --tuned eval/tuned
"""

from __future__ import annotations

import dataclasses
import datetime
import platform
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array, Key

from lopt import OptaxRule
from meta_train import provenance
from tasks import Split, Task

from ..file_names import file_stem
from .answer_files import (
    UnusableError,
    decode_curves,
    decode_floats,
    encode_curves,
    encode_floats,
    read_record,
    write_record,
)
from .baselines import Baseline, Tuned
from .curves import run_keys, training_curves

SHIPPED = Path(__file__).parents[1] / "tuned"
"""The files that come with lopt, which are only written with an explicit --tuned."""
OWN = Path("runs", "tuned")
"""The user's own files, relative to the working directory."""


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """The settings of the training runs on a task, independent of the optimizer."""

    name: str
    """The task's name."""
    task: Task
    horizon: int
    """Length of the runs in inner steps."""
    seed: int
    seeds: int
    held_out: Split

    @property
    def keys(self) -> Key[Array, " seeds"]:
        """The PRNG key of each run."""
        return run_keys(self.seed, self.seeds, self.name)

    @cached_property
    def start(self) -> list[Any]:
        """Training and held-out loss of each run before its first step.

        They detect changes of a task's data, configuration or code.
        """
        still = OptaxRule.create(jax.random.key(0), optax.sgd, learning_rate=0.0)
        curves = training_curves(
            *(still, self.task, 1, self.keys),
            split=self.held_out,
            points=1,
            batches=1,
            with_accuracy=False,
        )
        return [encode_floats(curves.train[:, 0]), encode_floats(curves.held_out[:, 0])]

    def question(self, name: str, family: Mapping[str, Baseline]) -> dict[str, Any]:
        """Return everything else that determines a baseline's tuned runs."""
        return {
            "task": self.name,
            "ceiling": self.task.ceiling,
            "horizon": self.horizon,
            "seed": self.seed,
            "seeds": self.seeds,
            "held_out": self.held_out,
            "baseline": name,
            "version": family[name].version,
            "rates": list(family[name].rates),
            # One program runs all rates of a family; its rounding depends on their number.
            "swept_with": [rate for one in family.values() for rate in one.rates],
        }


@dataclasses.dataclass
class TunedCache:
    """Tuned baselines in files."""

    directory: Path = OWN
    """The directory in which files are looked up first, and written."""
    retune: bool = False
    """Whether to use no file, and to write all again."""
    command: str = ""
    """The command line, to be recorded."""
    tell: Callable[[str], object] = lambda sentence: None
    """Called with a sentence for each existing file that is not used, or that can't be written."""
    reused: Counter[str] = dataclasses.field(default_factory=Counter)
    """Number of files used, by their location and commit."""

    def get(
        self, family: Mapping[str, Baseline], runs: Runs, make: Callable[[], dict[str, Tuned]]
    ) -> dict[str, Tuned]:
        """Return the tuned baselines of a family: from files, or from `make`, whose result is written."""
        tuned = None if self.retune else self._find(family, runs)
        if tuned is None:
            tuned = make()
            self._keep(family, runs, tuned)
        return tuned

    def _find(self, family: Mapping[str, Baseline], runs: Runs) -> dict[str, Tuned] | None:
        for directory in (self.directory, SHIPPED):
            path, found, commits = directory, {}, []
            try:
                for name, baseline in family.items():
                    path = directory / _file(runs, name)
                    record = read_record(path, runs.question(name, family), runs.start)
                    found[name] = _tuned(record["answer"], baseline)
                    # Reports are shared, and lopt's installation path means nothing to other readers.
                    place = "those that come with lopt" if directory == SHIPPED else directory
                    commits.append(f"{place} (commit {record['provenance']['commit']})")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, UnusableError) as error:
                self.tell(f"{path} is not used: {error}")
                continue
            self.reused.update(commits)
            return found
        return None

    def _keep(self, family: Mapping[str, Baseline], runs: Runs, tuned: Mapping[str, Tuned]) -> None:
        made = made_now(self.command)
        for name, one in tuned.items():
            path = self.directory / _file(runs, name)
            record = {
                "question": runs.question(name, family),
                "start": runs.start,
                "answer": _answer(one),
                "provenance": made,
            }
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                write_record(path, record)
            except OSError as error:  # The runs are done, so continue without the file.
                self.tell(f"{path} can't be written: {error}")


def made_now(command: str) -> dict[str, Any]:
    """Return the provenance of a file: command, commit, versions, devices, platform and date."""
    return provenance(command) | {
        "platform": platform.platform(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _file(runs: Runs, name: str) -> str:
    return f"{file_stem(f'{runs.name}-{runs.horizon}-{name}')}.json"


def _answer(tuned: Tuned) -> dict[str, Any]:
    scores = encode_floats(np.asarray(tuned.scores))
    return {"rate": tuned.rate, "scores": scores} | encode_curves(tuned.curves)


def _tuned(answer: dict[str, Any], baseline: Baseline) -> Tuned:
    scores = tuple(decode_floats(answer["scores"]).tolist())
    return Tuned(answer["rate"], decode_curves(answer), baseline.rates, scores)

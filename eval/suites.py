"""What optimizers are compared on: named lists of tasks. Reads no data."""

from __future__ import annotations

import dataclasses

from lopt import look_up


@dataclasses.dataclass(frozen=True)
class Entry:
    """One task of a suite."""

    task: str
    """Its name in `tasks.TASKS`."""
    horizon: int
    """Length of the training runs in inner steps."""


@dataclasses.dataclass(frozen=True)
class Suite:
    """Tasks that together test one thing."""

    name: str
    tests: str
    """What it tests, as a sentence for the report."""
    entries: tuple[Entry, ...]

    def at_horizon(self, horizon: int) -> Suite:
        """Return the same tasks with training runs of `horizon` inner steps."""
        entries = (dataclasses.replace(entry, horizon=horizon) for entry in self.entries)
        return dataclasses.replace(self, entries=tuple(entries))


SUITES: dict[str, Suite] = {}
"""Every suite by its name."""


def suite(name: str) -> Suite:
    """Look a suite up by name.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    return look_up("suite", SUITES, name)


def _add(name: str, tests: str, tasks: tuple[str, ...], horizon: int) -> None:
    SUITES[name] = Suite(name, tests, tuple(Entry(task, horizon) for task in tasks))


_add(
    "digits",
    "Small MLPs on scikit-learn's handwritten digits: one, and a family of widths, depths, activations, "
    "initial scales and batch sizes.",
    ("digits-mlp", "digits-mlp-family"),
    200,
)
_add(
    "quadratics",
    "Random quadratics, without and with gradient noise; no data, and over in seconds.",
    ("quadratic", "noisy-quadratic"),
    200,
)
_add(
    "images",
    "The family of small MLPs on three image data sets (prepare two: lopt-data prepare mnist, and "
    "fashion_mnist).",
    ("digits-mlp-family", "mnist-mlp-family", "fashion-mnist-mlp-family"),
    500,
)

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


def _add(name: str, tests: str, tasks: tuple[str, ...], *horizons: int) -> None:
    entries = (Entry(task, horizon) for task in tasks for horizon in horizons)
    SUITES[name] = Suite(name, tests, tuple(entries))


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

_add(
    "new-data",
    "MLPs on data that are no images: tables, procedural curves, teachers and Gaussian mixtures.",
    (
        *("breast-cancer-mlp", "wine-mlp", "diabetes-mlp"),
        *("procedural-mlp", "teacher-mlp", "mixture-mlp"),
    ),
    500,
)
_add(
    "new-architecture",
    "Networks that are no MLP classifiers: convolutions, a residual net, autoencoders, and character models.",
    (
        *("digits-conv", "digits-resnet", "digits-autoencoder", "digits-vae"),
        *("char-gru", "char-transformer"),
    ),
    500,
)
_add("wider", "A hidden layer five times as wide as the digits family's widest.", ("wide-digits-mlp",), 500)
_add("deeper", "Three times as many hidden layers as the digits family's deepest.", ("deep-digits-mlp",), 500)
_add(
    "longer",
    "The MLP on digits for 2, 4 and 10 times as long as the demo was meta-trained for.",
    ("digits-mlp",),
    *(400, 800, 2000),
)
_add(
    "rescaled",
    "The MLP on digits with its parameters divided by factors from 0.01 to 100.",
    ("rescaled-digits-mlp", "tensor-rescaled-digits-mlp"),
    500,
)
_add(
    "noisy",
    "Noise in the gradient as large as the gradient, small batches, and a noisy quadratic.",
    ("noisy-digits-mlp", "small-batch-digits-mlp", "noisy-quadratic"),
    500,
)

HYPER_FREE = ("new-data", "new-architecture", "wider", "deeper", "longer", "rescaled", "noisy")
"""The suites that `hyper-free` joins."""
SUITES["hyper-free"] = Suite(
    "hyper-free",
    "All of " + ", ".join(HYPER_FREE) + ": what a rule without hyperparameters has to take.",
    tuple(entry for name in HYPER_FREE for entry in SUITES[name].entries),
)

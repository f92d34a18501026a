"""Suites: named lists of tasks for benchmarks. Reads no data."""

from __future__ import annotations

import math
import re

from lopt import UsageError, check_free, check_name, look_up

from .difficult_suites import DIFFICULT
from .entries import Entry, Suite, distinct

SUITES: dict[str, Suite] = {}
"""All suites by name."""


def suite(name: str) -> Suite:
    """Look a suite up by name; `sampled:COUNT` or `sampled:COUNT:FIRST` is one of tasks drawn at random.

    Raises:
        UsageError: for an unknown name, with similar ones, or a count that is not from 1 to 10,000.
    """
    if name.startswith("sampled:"):
        return _sampled(name)
    return look_up("suite", SUITES, name)


def _sampled(name: str) -> Suite:
    found = re.fullmatch(r"sampled:(\d{1,5})(?::(\d{1,10}))?", name)
    count, first = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    if not (1 <= count <= 10_000 and first + count <= 2**32):
        raise UsageError(
            f"{name!r} is not a suite: write sampled:COUNT or sampled:COUNT:FIRST, as sampled:100"
        )
    entries = tuple(Entry(f"sampled-{seed}", 500, part="sampled") for seed in range(first, first + count))
    tests = f"Tasks drawn at random from all families, by the numbers {first} to {first + count - 1}."
    return Suite(name, tests, entries)


def register_suite(suite: Suite) -> None:
    """Register a suite under its name for `lopt-eval --suite`.

    Raises:
        UsageError: if its name is taken or not text, it is not a `Suite`, it has no entries, or an entry has
            a horizon below 1 step or a `declared` that is not positive.
    """
    if not isinstance(suite, Suite):
        raise UsageError(f"the registered object is not a Suite: {suite!r}")
    check_name(suite.name)
    check_free("suite", suite.name, SUITES)
    if not suite.entries or not all(isinstance(entry, Entry) for entry in suite.entries):
        raise UsageError(
            f"suite {suite.name!r} needs entries: Suite(name, tests, (Entry(task, horizon), ...))"
        )
    for entry in suite.entries:
        if not (isinstance(entry.horizon, int) and entry.horizon >= 1 and 0 < entry.declared < math.inf):
            raise UsageError(
                f"suite {suite.name!r}: horizons are whole steps from 1 and what is declared is "
                f"positive, unlike in {entry}"
            )
    SUITES[suite.name] = suite


def _add(
    name: str, tests: str, tasks: tuple[str, ...], *horizons: int, declared: tuple[float, ...] = (1.0,)
) -> None:
    """Add a suite, or entries to an existing one."""
    entries = [
        Entry(task, horizon, share, name) for task in tasks for horizon in horizons for share in declared
    ]
    there = SUITES[name].entries if name in SUITES else ()
    SUITES[name] = Suite(name, tests, (*there, *entries))


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
    "in-distribution",
    "The families of tasks that the published optimizer `small` is meta-trained on.",
    (
        *("digits-mlp-family", "rescaled-procedural-mlp-family", "deep-procedural-mlp-family"),
        *("char-mlp-family", "friedman-mlp-family", "teacher-mlp-family", "mixture-mlp-family", "quadratic"),
    ),
    500,
)
_add(
    "new-data",
    "MLPs on data other than images: tables, procedural curves, teachers and Gaussian mixtures.",
    (
        *("breast-cancer-mlp", "wine-mlp", "diabetes-mlp"),
        *("procedural-mlp", "teacher-mlp", "mixture-mlp"),
    ),
    500,
)
_add(
    "new-architecture",
    "Networks other than MLP classifiers: convolutions, a residual net, autoencoders, and character models.",
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
    "Training runs 2, 4 and 10 times as long as the longest that `small` is meta-trained on.",
    ("digits-mlp",),
    *(1000, 2000, 5000),
)
_add(
    "longer",
    SUITES["longer"].tests,
    ("procedural-mlp", "teacher-mlp", "breast-cancer-mlp", "digits-autoencoder"),
    2000,
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

_add(
    "wrong-horizon",
    "Rules that need the horizon are given half and twice the true one.",
    # Tasks of other suites at the same horizon, so the tuned baselines are shared.
    ("breast-cancer-mlp", "procedural-mlp", "digits-conv", "char-gru"),
    500,
    declared=(0.5, 2.0),
)

HYPER_FREE = (
    *("in-distribution", "new-data", "new-architecture", "wider", "deeper"),
    *("longer", "rescaled", "noisy", "wrong-horizon"),
)
"""The suites that `hyper-free` joins."""
SUITES["hyper-free"] = Suite(
    "hyper-free",
    "All of " + ", ".join(HYPER_FREE) + ": the complete test of a rule without hyperparameters.",
    distinct(entry for name in HYPER_FREE for entry in SUITES[name].entries),
)
SUITES |= {one.name: one for one in DIFFICULT}

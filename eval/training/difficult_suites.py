"""Suites of what learned optimizers find difficult, on tasks that no preset meta-trains on. Reads no data."""

from __future__ import annotations

from .entries import Entry, Suite


def _suite(name: str, tests: str, tasks: dict[int, tuple[str, ...]]) -> Suite:
    """Make a suite.

    Args:
        name: its name.
        tests: what it tests.
        tasks: horizon -> tasks.
    """
    entries = (Entry(task, horizon, part=name) for horizon, some in tasks.items() for task in some)
    return Suite(name, tests, tuple(entries))


_CHEAP = ("lorenz-mlp", "digits-made", "digits-vae", "mixture-flow", "deep-linear", "poisson-pinn")

DIFFICULT = (
    _suite(
        "transformers",
        "Transformers of several sizes and norms, with embeddings and heads that start at zero or with "
        "standard deviations from 0.02 to 1, for 500 to 5,000 steps.",
        {
            500: (
                *("char-transformer-tied", "char-transformer-post", "char-transformer-zero"),
                *("char-transformer-large-embeddings", "char-transformer-large-head"),
                *("char-transformer-wide", "digits-vit"),
            ),
            1000: ("char-transformer-small-embeddings", "char-transformer-deep-post"),
            2000: ("char-transformer-uneven",),
            5000: ("char-transformer-narrow",),
        },
    ),
    _suite(
        "small-starts",
        "Tensors that start at zero, or much smaller than they need to be: regressions on badly scaled "
        "inputs, output layers, adapters, and all kernels of a perceptron.",
        {
            500: (
                *("small-start-linear-regression", "small-start-logistic-regression"),
                *("small-start-softmax-regression", "zero-start-softmax-regression"),
                *("small-start-digits-mlp", "zero-output-lorenz-mlp"),
                *("char-transformer-zero", "char-transformer-lora"),
            )
        },
    ),
    _suite(
        "long",
        "Training runs of 2,000 and 5,000 steps, on tasks other than perceptron classifiers.",
        {2000: (*_CHEAP, "digits-conv", "sorting-gru", "digits-contrastive"), 5000: _CHEAP},
    ),
    _suite(
        "large",
        "More than 100,000 parameters and batches of 128, where an update costs little beside a gradient.",
        {500: ("large-digits-mlp", "large-digits-gelu-mlp", "large-char-transformer")},
    ),
)
"""The suites."""

"""The papers' experiments for `scripts/reproduce.py`: a module each, imported when it runs."""

from .experiment import (
    CATALOGUE,
    EXPERIMENTS,
    Check,
    Outcome,
    experiment,
    find_experiment,
    make_figure,
    reproduce,
)

__all__ = [
    "CATALOGUE",
    "EXPERIMENTS",
    "Check",
    "Outcome",
    "experiment",
    "find_experiment",
    "make_figure",
    "reproduce",
]

"""The papers' experiments for `scripts/reproduce.py`: a module each, imported when it runs."""

from .experiment import (
    CATALOGUE,
    EXPERIMENTS,
    NEED_GPU,
    Check,
    Outcome,
    experiment,
    find_experiment,
    make_figure,
    redraw,
    reproduce,
)

__all__ = [
    "CATALOGUE",
    "EXPERIMENTS",
    "NEED_GPU",
    "Check",
    "Outcome",
    "experiment",
    "find_experiment",
    "make_figure",
    "redraw",
    "reproduce",
]

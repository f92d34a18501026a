"""Gradient estimators for unrolled computation graphs, one file each."""

from .base import Estimate, Estimator, window_metrics
from .evolution import EvolutionState, EvolutionStrategies
from .gpes import GPES
from .nres import NRES
from .pes import PES
from .registry import ESTIMATORS, create_estimator, register
from .truncated_es import TruncatedES

__all__ = [
    "ESTIMATORS",
    "GPES",
    "NRES",
    "PES",
    "Estimate",
    "Estimator",
    "EvolutionState",
    "EvolutionStrategies",
    "TruncatedES",
    "create_estimator",
    "register",
    "window_metrics",
]

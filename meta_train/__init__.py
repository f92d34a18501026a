"""Meta-training: unrolls, gradient estimators, populations over devices, and the trainer."""

from .build import Parts, build
from .checkpoints import CheckpointError
from .compiled_programs import keep_compiled_programs
from .config import RunConfig
from .dynamics import Dynamics
from .estimators import (
    ESTIMATORS,
    GPES,
    NRES,
    PES,
    Estimate,
    Estimator,
    EvolutionState,
    EvolutionStrategies,
    TruncatedES,
    create_estimator,
    register,
    window_metrics,
)
from .horizons import ConstantHorizon, CurriculumHorizon, Horizon, LogUniformHorizon
from .inner_training import InnerState, InnerTraining
from .mesh import Population
from .objectives import OBJECTIVES, LastLoss, MeanLogLoss, MeanLoss, MinimumLoss, Objective
from .presets import PRESETS, get_preset
from .provenance import provenance
from .quadrature import expected_gradients
from .run_directory import RunDirectory, RunDirectoryError, export_run, load_run_optimizer
from .step import MetaState, init_run, make_meta_step
from .trackers import JsonLines, NoTracker, ProgressBar, Several, Tracker, WandB
from .trainer import DivergedError, Record, Trainer
from .unroll import Episode, Window, advance, blank, finished, renew, start

__all__ = [
    "ESTIMATORS",
    "GPES",
    "NRES",
    "OBJECTIVES",
    "PES",
    "PRESETS",
    "CheckpointError",
    "ConstantHorizon",
    "CurriculumHorizon",
    "DivergedError",
    "Dynamics",
    "Episode",
    "Estimate",
    "Estimator",
    "EvolutionState",
    "EvolutionStrategies",
    "Horizon",
    "InnerState",
    "InnerTraining",
    "JsonLines",
    "LastLoss",
    "LogUniformHorizon",
    "MeanLogLoss",
    "MeanLoss",
    "MetaState",
    "MinimumLoss",
    "NoTracker",
    "Objective",
    "Parts",
    "Population",
    "ProgressBar",
    "Record",
    "RunConfig",
    "RunDirectory",
    "RunDirectoryError",
    "Several",
    "Tracker",
    "Trainer",
    "TruncatedES",
    "WandB",
    "Window",
    "advance",
    "blank",
    "build",
    "create_estimator",
    "expected_gradients",
    "export_run",
    "finished",
    "get_preset",
    "init_run",
    "keep_compiled_programs",
    "load_run_optimizer",
    "make_meta_step",
    "provenance",
    "register",
    "renew",
    "start",
    "window_metrics",
]

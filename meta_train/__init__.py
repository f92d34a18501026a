"""Meta-training: unrolls, gradient estimators, populations over devices, and the trainer."""

from . import systems
from .commands.launch import Launch
from .config.build import Parts, build
from .config.presets import PRESETS, get_preset
from .config.run import RunConfig
from .dynamics import Dynamics
from .estimators import (
    ARTBP,
    BPTT,
    DODGE,
    ESTIMATORS,
    GPES,
    NRES,
    PES,
    RTRL,
    UORO,
    Backpropagation,
    CombinedES,
    Estimate,
    Estimator,
    EvolutionStrategies,
    FullES,
    GuidedES,
    PairState,
    Perturbing,
    PESAnalytic,
    TruncatedBPTT,
    TruncatedES,
    create_estimator,
    register,
)
from .horizons import ConstantHorizon, CurriculumHorizon, Horizon, LogUniformHorizon
from .host.compiled_programs import keep_compiled_programs
from .host.imports import import_all
from .host.provenance import provenance
from .host.robustness import DivergedError
from .objectives import OBJECTIVES, LastLoss, MeanLogLoss, MeanLoss, MinimumLoss, Objective, SumLoss
from .population.hysteresis import make_hysteresis_probe
from .population.mesh import Devices
from .population.mixture import Member, Mixture, Scale
from .population.step import MetaState, init_run, make_meta_step
from .problems.inner_training import InnerState, InnerTraining
from .quadrature import expected_gradients
from .runs.checkpoints import CheckpointError
from .runs.directory import RunDirectory, RunDirectoryError, export_run, load_run_optimizer, read_run
from .runs.trainer import Record, Trainer
from .trackers import (
    Curves,
    Histogram,
    JsonLines,
    NoTracker,
    ProgressBar,
    Several,
    Tracker,
    WandB,
    WandBOptions,
)
from .trackers.metrics import METRICS
from .unroll import Episode, Window, advance, blank, finished, renew, start

__all__ = [
    "ARTBP",
    "BPTT",
    "DODGE",
    "ESTIMATORS",
    "GPES",
    "METRICS",
    "NRES",
    "OBJECTIVES",
    "PES",
    "PRESETS",
    "RTRL",
    "UORO",
    "Backpropagation",
    "CheckpointError",
    "CombinedES",
    "ConstantHorizon",
    "CurriculumHorizon",
    "Curves",
    "Devices",
    "DivergedError",
    "Dynamics",
    "Episode",
    "Estimate",
    "Estimator",
    "EvolutionStrategies",
    "FullES",
    "GuidedES",
    "Histogram",
    "Horizon",
    "InnerState",
    "InnerTraining",
    "JsonLines",
    "LastLoss",
    "Launch",
    "LogUniformHorizon",
    "MeanLogLoss",
    "MeanLoss",
    "Member",
    "MetaState",
    "MinimumLoss",
    "Mixture",
    "NoTracker",
    "Objective",
    "PESAnalytic",
    "PairState",
    "Parts",
    "Perturbing",
    "ProgressBar",
    "Record",
    "RunConfig",
    "RunDirectory",
    "RunDirectoryError",
    "Scale",
    "Several",
    "SumLoss",
    "Tracker",
    "Trainer",
    "TruncatedBPTT",
    "TruncatedES",
    "WandB",
    "WandBOptions",
    "Window",
    "advance",
    "blank",
    "build",
    "create_estimator",
    "expected_gradients",
    "export_run",
    "finished",
    "get_preset",
    "import_all",
    "init_run",
    "keep_compiled_programs",
    "load_run_optimizer",
    "make_hysteresis_probe",
    "make_meta_step",
    "provenance",
    "read_run",
    "register",
    "renew",
    "start",
    "systems",
]

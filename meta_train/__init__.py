"""Meta-training: unrolls, gradient estimators, populations over devices, and the trainer."""

from typing import TYPE_CHECKING

from lopt import lazily

if TYPE_CHECKING:
    from . import systems
    from .commands import help_pages
    from .commands.launch import Launch
    from .config.files import run_from_json
    from .config.json_form import run_to_json
    from .config.options import MethodOptions, Options
    from .config.presets import PRESETS, get_preset
    from .config.run import Method, Run
    from .config.settings import Loop, Placement, Show
    from .dynamics import Dynamics, Minimising, Recurrent
    from .estimators import (
        ARTBP,
        BPTT,
        DODGE,
        ESTIMATORS,
        GPES,
        KFRTRL,
        NRES,
        OK,
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
        HypergradientDescent,
        ImplicitDifferentiation,
        KroneckerSum,
        Online,
        PairState,
        Perturbing,
        PESAnalytic,
        RussianRoulette,
        SingleSample,
        SnAp,
        Telescope,
        TruncatedBPTT,
        TruncatedES,
        create_estimator,
        register,
    )
    from .horizons import HORIZONS, ConstantHorizon, CurriculumHorizon, Horizon, LogUniformHorizon
    from .host.compiled_programs import keep_compiled_programs
    from .host.cores import usable_cores
    from .host.imports import import_all
    from .host.provenance import provenance
    from .host.robustness import DivergedError
    from .host.usage import USAGE_ERRORS
    from .objectives import (
        OBJECTIVES,
        LastLoss,
        MeanLogLoss,
        MeanLoss,
        MinimumLoss,
        Objective,
        SumLoss,
        TimeWeightedLoss,
    )
    from .population.hysteresis import make_hysteresis_probe
    from .population.mesh import Devices
    from .population.mixture import Member, Mixture, Scale
    from .population.step import init_run, make_meta_step
    from .problems.base import Problem, Rival, Training, Trial
    from .problems.builtin import PROBLEMS
    from .problems.hyperparameters import HyperparameterTuning
    from .problems.inner_training import InnerState, InnerTraining
    from .problems.learned_optimizer import LearnedOptimizerTraining
    from .problems.published import load_theta, save_theta
    from .problems.system import SystemProblem
    from .quadrature import expected_gradients
    from .runs.checkpoints import CheckpointError
    from .runs.comparison import Comparison, compare_runs
    from .runs.directory import RunDirectory, RunDirectoryError
    from .runs.export import export_run, load_run_optimizer, read_run, read_theta
    from .runs.history import History, read_history
    from .runs.parts import Parts, build
    from .runs.summary import RunSummary, find_runs, summarize_run
    from .runs.trainer import Record, Trainer
    from .runs.training import train
    from .samples import sample_estimates, window_gradients, window_losses, z_score
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
    from .trackers.plots import in_figure
    from .tuning.optimizers import OPTIMIZERS, register_optimizer
    from .tuning.schedules import SCHEDULES, Schedule
    from .tuning.space import Space, Tuned
    from .unroll import Episode, Length, Window, advance, blank, finished, renew, run_episode, start
    from .views import pages
else:
    __getattr__, __dir__ = lazily(__name__)

__all__ = [
    "ARTBP",
    "BPTT",
    "DODGE",
    "ESTIMATORS",
    "GPES",
    "HORIZONS",
    "KFRTRL",
    "METRICS",
    "NRES",
    "OBJECTIVES",
    "OK",
    "OPTIMIZERS",
    "PES",
    "PRESETS",
    "PROBLEMS",
    "RTRL",
    "SCHEDULES",
    "UORO",
    "USAGE_ERRORS",
    "Backpropagation",
    "CheckpointError",
    "CombinedES",
    "Comparison",
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
    "History",
    "Horizon",
    "HypergradientDescent",
    "HyperparameterTuning",
    "ImplicitDifferentiation",
    "InnerState",
    "InnerTraining",
    "JsonLines",
    "KroneckerSum",
    "LastLoss",
    "Launch",
    "LearnedOptimizerTraining",
    "Length",
    "LogUniformHorizon",
    "Loop",
    "MeanLogLoss",
    "MeanLoss",
    "Member",
    "Method",
    "MethodOptions",
    "Minimising",
    "MinimumLoss",
    "Mixture",
    "NoTracker",
    "Objective",
    "Online",
    "Options",
    "PESAnalytic",
    "PairState",
    "Parts",
    "Perturbing",
    "Placement",
    "Problem",
    "ProgressBar",
    "Record",
    "Recurrent",
    "Rival",
    "Run",
    "RunDirectory",
    "RunDirectoryError",
    "RunSummary",
    "RussianRoulette",
    "Scale",
    "Schedule",
    "Several",
    "Show",
    "SingleSample",
    "SnAp",
    "Space",
    "SumLoss",
    "SystemProblem",
    "Telescope",
    "TimeWeightedLoss",
    "Tracker",
    "Trainer",
    "Training",
    "Trial",
    "TruncatedBPTT",
    "TruncatedES",
    "Tuned",
    "WandB",
    "WandBOptions",
    "Window",
    "advance",
    "blank",
    "build",
    "compare_runs",
    "create_estimator",
    "expected_gradients",
    "export_run",
    "find_runs",
    "finished",
    "get_preset",
    "help_pages",
    "import_all",
    "in_figure",
    "init_run",
    "keep_compiled_programs",
    "load_run_optimizer",
    "load_theta",
    "make_hysteresis_probe",
    "make_meta_step",
    "pages",
    "provenance",
    "read_history",
    "read_run",
    "read_theta",
    "register",
    "register_optimizer",
    "renew",
    "run_episode",
    "run_from_json",
    "run_to_json",
    "sample_estimates",
    "save_theta",
    "start",
    "summarize_run",
    "systems",
    "train",
    "usable_cores",
    "window_gradients",
    "window_losses",
    "z_score",
]

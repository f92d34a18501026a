"""The reference of the documentation site: the public names of each package, in groups."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path

GROUPS: dict[str, dict[str, str]] = {
    "lopt": {
        "Use and publish": (
            "as_optax load published save read_config PublishedOptimizerError Layout layouts push locate "
            "is_hub_name"
        ),
        "Create": ("create architecture architecture_name ARCHITECTURES theta_size trainable static_fields"),
        "Architectures": (
            "LearnableSGD LearnableAdam LearnableNAdamW MLPOptimizer AdafactorMLP CoordinatewiseLSTM "
            "HierarchicalRNN TensorLSTM VeLO STAR MuonSTAR Optimus Paced PacedMuon PacedNAdam Celo CeloAdam "
            "Celo2Base Celo2 OptaxRule"
        ),
        "Write your own": "LearnedOptimizer register Tensors next_count checked_horizon zeros_like",
        "What the packages above share": (
            "UsageError check_class check_free check_name look_up lazily plain strict_json ADAM_RATES "
            "log_grid lowest"
        ),
    },
    "tasks": {
        "By name": (
            "TASKS build names one_of_each_kind register sample sample_group group TaskGroup "
            "inner_step_flops UsageError"
        ),
        "Your own data": "make_table table_task make_dataset make_text",
        "Data": (
            "Dataset load_dataset Table load_table Text load_text load_corpus SPLITS Split "
            "DatasetNotPreparedError"
        ),
        "Streaming": (
            "stream_dataset stream_text tfds_records divide_records Columns RowSource TextSource Source "
            "Stream Pool"
        ),
        "Models": (
            "ImageMLP ImageConv ImageResNet ImageViT ImageMixer Autoencoder VAE CharMLP CharGRU "
            "CharLSTM CharTransformer CharLoRA MADE RealNVP TripletEmbedding ContrastiveEmbedding "
            "TabularMLP Quadratic Teacher GaussianMixture Friedman ProceduralCurves TunableMLP "
            "RotatingQuadratic Landscape LowRank MatrixCompletion SparseRecovery "
            "AlgorithmicGRU SeriesMLP GraphConvolution PhysicsInformed PolicyGradient LearnedRule"
        ),
        "Variations": (
            "Reparametrised ScaledLoss SmallerBatches FiniteData NoisyTargets LowPrecision NoisyGradient "
            "NormalisedGradient DelayedGradient RandomSubspace"
        ),
        "Write your own": "Task Classifier Batch Perceptron",
        "Hyperparameters": "Hyperparameter Constraint Real Positive Share Bounded Integer Choice",
    },
    "meta_train": {
        "Train, and read a run": (
            "train get_preset PRESETS Options MethodOptions export_run load_run_optimizer read_run "
            "read_theta load_theta save_theta Trainer Record RunDirectory RunDirectoryError "
            "CheckpointError DivergedError"
        ),
        "Look at runs": (
            "find_runs summarize_run RunSummary compare_runs Comparison read_history History in_figure"
        ),
        "Configure a run": ("Run Method Loop Placement Show Launch run_to_json run_from_json Parts build"),
        "Problems": (
            "Problem LearnedOptimizerTraining HyperparameterTuning SystemProblem PROBLEMS Member "
            "Training Trial Rival InnerTraining InnerState"
        ),
        "Tuning": "OPTIMIZERS register_optimizer Schedule SCHEDULES Space Tuned",
        "Systems": "Dynamics systems",
        "Estimators": (
            "ESTIMATORS create_estimator register Estimator Estimate EvolutionStrategies Perturbing "
            "Backpropagation PairState FullES TruncatedES PES GPES NRES PESAnalytic GuidedES "
            "CombinedES BPTT TruncatedBPTT ARTBP DODGE RTRL UORO Telescope "
            "RussianRoulette SingleSample"
        ),
        "Test an estimator": ("sample_estimates window_gradients window_losses expected_gradients z_score"),
        "Horizons and objectives": (
            "Horizon HORIZONS ConstantHorizon LogUniformHorizon CurriculumHorizon Objective "
            "OBJECTIVES MeanLoss SumLoss MeanLogLoss LastLoss MinimumLoss TimeWeightedLoss"
        ),
        "Episodes": "Episode Length Window start blank renew advance finished run_episode",
        "Populations": ("Devices Mixture Scale init_run make_meta_step make_hysteresis_probe usable_cores"),
        "Trackers": (
            "Tracker NoTracker Several JsonLines ProgressBar WandB WandBOptions METRICS Curves Histogram"
        ),
        "For commands": "USAGE_ERRORS import_all keep_compiled_programs provenance help_pages pages",
    },
    "eval": {
        "Benchmarks": "benchmark Suite Entry SUITES suite suites register_suite Results TaskResult Row",
        "Baselines": (
            "BASELINES REFERENCE STANDARD Baseline Tuned choose families tune register_baseline "
            "TunedCache Runs log_grid"
        ),
        "Optimizers": "find find_all Found OptimizerNotFoundError",
        "Compare and report": "compare Comparison Summary print_results write_report Report many_runs",
        "Curves and costs": (
            "Curves training_curves sweep_curves run_keys stack curve_metrics seconds_per_step "
            "measure_costs Cost PartialResults"
        ),
        "The papers' experiments": "reproductions",
    },
}
"""The public names of each package, by heading."""
PACKAGES = tuple(GROUPS)


def reference(package: str, root: Path) -> str:
    """Return the page of a package.

    Args:
        package: the package's name.
        root: the repository.

    Raises:
        KeyError: for a name in `GROUPS` that is not public.
    """
    places, groups = homes(package, root), dict(GROUPS[package])
    if others := ungrouped(package):
        groups["Further names"] = " ".join(others)
    lines = [f"# {package}", "", inspect.getdoc(import_module(package)) or "", ""]
    for title, names in groups.items():
        lines += [f"## {title}", ""]
        for name in names.split():
            lines += [f"::: {places[name]}", ""]
    return "\n".join(lines)


def ungrouped(package: str) -> list[str]:
    """Return the public names of a package that are in no group."""
    grouped = {name for names in GROUPS[package].values() for name in names.split()}
    return sorted(set(import_module(package).__all__) - grouped)


def homes(package: str, root: Path) -> dict[str, str]:
    """Return where each public name of a package is defined, as its imports say, with the name."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse((root / package / "__init__.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            folder = ".".join(filter(None, [package, node.module])) if node.level else node.module
            found |= {one.name: f"{folder}.{one.name}" for one in node.names}
    # Through the roots of inner packages, down to the file.
    for name, place in found.items():
        value = getattr(import_module(package), name)
        if inspect.isclass(value) or inspect.isfunction(value):
            found[name] = f"{value.__module__}.{value.__qualname__}"
        elif inspect.ismodule(value):
            found[name] = value.__name__
        else:
            found[name] = place
    return found

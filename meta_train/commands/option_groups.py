"""The options of `lopt-train` and `lopt-tune` in groups, as their help shows them."""

from __future__ import annotations

from typing import Any

from .help_pages import Option, options_of
from .launch import Launch

GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "task": {
        "short": ("run_dir", "kind", "task", "optimizer", "system", "tune", "init_from", "imports"),
        "more": (
            *("task_weights", "optimizer_options", "system_options", "measured_on", "schedule", "start"),
            *("bounds", "set", "measure", "freeze", "train_only"),
        ),
    },
    "length and learning rate": {
        "short": ("steps", "seed", "learning_rate"),
        "more": ("warmup", "final_rate", "gradient_clip", "steps_per_call"),
    },
    "estimator": {
        "short": ("estimator", "window", "sigma", "horizon", "horizon_low", "horizon_high", "objective"),
        "more": (
            *("estimator_options", "phase", "horizon_meta_steps", "horizon_options", "objective_options"),
        ),
    },
    "population": {
        "short": ("particles", "devices"),
        "more": ("task_particles", "particle_clip", "chunk", "backend", "reduction"),
    },
    "validation": {
        "short": ("validate_on", "validate_every"),
        "more": ("validation_episodes", "reference_rates", "hysteresis_particles"),
    },
    "checkpoints": {
        "short": ("checkpoint_seconds",),
        "more": ("checkpoint_every", "keep_last", "keep_hours"),
    },
    "display and W&B": {
        "short": ("progress", "tracker", "wandb_project"),
        "more": ("wandb_mode", "wandb_entity", "wandb_group", "wandb_name", "wandb_tags", "wandb_notes"),
    },
    "cluster": {
        "short": ("distributed",),
        "more": (*("coordinator", "num_processes", "process_id", "stop_seconds", "stopped_status"),),
    },
}
"""Titles, each with the options that the short help shows, and those that only --help-all has."""


def all_options(preset: Any, kind: Option, run_dir: Option) -> list[Option]:
    """Return the options of a command that trains.

    Args:
        preset: the `Options` whose values are the defaults.
        kind: the option for the problem.
        run_dir: the option for the run's directory.
    """
    groups = (preset.problem, preset.method, preset.loop, preset.placement, preset.show, Launch())
    return [run_dir, kind, *(one for group in groups for one in options_of(group))]

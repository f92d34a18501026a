"""Settings that may change when a run is resumed: its length, placement and display.

Importing this module imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from .ranges import COUNT, Range, check_ranges

BackendName = Literal["shard_map", "pmap", "vmap"]


@dataclasses.dataclass(frozen=True)
class Loop:
    """The length of a run, and how often it is validated and saved. All of it may change on resuming."""

    steps: Annotated[int, COUNT] = 1000
    """Total number of meta-steps."""
    steps_per_call: Annotated[int, COUNT] = 10
    """Meta-steps per call on the device, after each of which a line is logged."""
    validate_every: Annotated[int, COUNT] = 100
    """Meta-steps between validations of the unperturbed theta."""
    validation_episodes: Annotated[int, Range(1, 2**20)] = 16
    """Episodes per validation and task, the same ones every time."""
    reference_rates: Annotated[int, Range(0, 1000)] = 15
    """Number of learning rates for tuning a reference Adam on the validation's episodes, once; 0 for no Adam,
    which saves a compilation."""
    hysteresis_particles: Annotated[int, Range(0, 2**20)] = 2
    """Particles whose current episodes are replayed at each validation, to measure how theta's motion within
    an episode changes their estimates; 0 for none, which saves a compilation."""
    checkpoint_seconds: Annotated[float, Range(0, 1e9)] = 60.0
    """Seconds between checkpoints; 0 for no checkpoints by time."""
    checkpoint_every: Annotated[int, Range()] = 0
    """Meta-steps between checkpoints; 0 for no checkpoints by meta-steps. There is also one at each
    validation that is the best so far, and one at the end."""
    keep_last: Annotated[int, COUNT] = 3
    """Number of newest checkpoints to keep; the best by validation is kept, too."""
    keep_hours: Annotated[float, Range(0, 1e6)] = 6.0
    """Hours between checkpoints that are kept permanently; 0 for none."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the particles run. All of it may change on resuming."""

    devices: Annotated[int | None, COUNT] = None
    """Devices that share the population; default: all."""
    backend: BackendName = "shard_map"
    """How the population is mapped over devices."""
    reduction: Literal["psum", "ordered"] = "psum"
    """How estimates are summed; ordered with --chunk 1 is bitwise the same on any number of CPU devices."""
    chunk: Annotated[int | None, COUNT] = None
    """Particles that a device runs at once; default: as many as fit a CPU's cache, on other devices all."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclasses.dataclass(frozen=True)
class Show:
    """Display and trackers. All of it may change on resuming."""

    progress: bool = True
    """Whether to show progress on standard error: a display on a terminal, plain lines elsewhere."""
    tracker: Literal["none", "wandb"] = "none"
    """Tracker besides metrics.jsonl in the run directory, which is always written."""
    wandb_mode: Literal["online", "offline", "disabled"] | None = None
    """W&B's mode; default: WANDB_MODE, or else online."""
    wandb_project: str | None = None
    """W&B project; default: WANDB_PROJECT, or else lopt."""
    wandb_entity: str | None = None
    """W&B user or team; default: WANDB_ENTITY, or else yours."""
    wandb_group: str | None = None
    """W&B group of runs to compare, such as a sweep's name; default: WANDB_RUN_GROUP."""
    wandb_name: str | None = None
    """W&B's name of the run; default: WANDB_NAME, or else the run directory's."""
    wandb_tags: tuple[str, ...] = ()
    """W&B tags; default: WANDB_TAGS."""
    wandb_notes: str | None = None
    """W&B notes; default: WANDB_NOTES."""


def with_values(
    groups: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replace fields of several dataclasses, each in the dataclass that has a field of that name.

    Args:
        groups: dataclasses by name.
        values: new values by field name; no two groups share a field name.

    Returns:
        The groups, and the values that belong to no group.
    """
    changed, others = dict(groups), dict(values)
    for name, group in groups.items():
        fields = {field.name for field in dataclasses.fields(group)}
        own = {key: others.pop(key) for key in values if key in fields}
        changed[name] = dataclasses.replace(group, **own) if own else group
    return changed, others

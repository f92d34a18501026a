"""What a meta-training run is: plain values that print, compare, hash and round-trip through JSON.

`build.py` turns them into objects; this module imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from typing import Any, Literal

from .task_options import Validation, check_names, check_numbers, parse_validations

HorizonName = Literal["constant", "log-uniform", "curriculum"]
ObjectiveName = Literal["mean", "sum", "mean-log", "last", "minimum"]
PhaseName = Literal["lockstep", "staggered", "random"]
BackendName = Literal["shard_map", "pmap", "vmap"]

_FORMAT = "lopt-run 1"
"""What the files of runs call themselves, so that nobody takes them for published optimizers."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A meta-training run. Every field is an option of `lopt-train`, and a preset is a set of values."""

    task: tuple[str, ...] = ("digits-mlp-family",)
    """Inner task or family to train on, or several, a mixture; `lopt-train --list` shows all."""
    task_weights: tuple[float, ...] = ()
    """Weight of each task in a mixture, in the order of the tasks; default: all the same."""
    optimizer: str = "star"
    """Architecture of the learned optimizer."""
    optimizer_options: tuple[str, ...] = ()
    """Static fields of the architecture, as NAME=VALUE."""
    init_from: str | None = None
    """Published optimizer (name or directory) whose theta to start from; default: a random theta."""

    estimator: str = "pes"
    """Gradient estimator."""
    estimator_options: tuple[str, ...] = ()
    """Further options of the estimator, as NAME=VALUE."""
    window: int = 20
    """Inner steps per window (the truncation length)."""
    sigma: float = 0.01
    """Standard deviation of the perturbations of theta."""
    phase: PhaseName = "staggered"
    """Which part of an episode particles are in: all the same, spread by cutting the first episode short, or
    spread and silent until every first episode is over."""

    horizon: HorizonName = "log-uniform"
    """Law of episode lengths."""
    horizon_low: int = 100
    """Shortest episode in inner steps; a multiple of the window (not used by constant)."""
    horizon_high: int = 200
    """Longest episode in inner steps; a multiple of the window."""
    horizon_meta_steps: int = 1000
    """How long a curriculum takes to reach the longest episode, in meta-steps."""

    objective: ObjectiveName = "mean"
    """What an episode is judged by: a function of its losses."""
    measured_on: Literal["train", "inner_valid"] = "train"
    """Which data the losses are measured on; inner_valid costs a forward pass per inner step."""

    particles: int = 16
    """Size of the population, for each task; a particle is an antithetic pair."""
    task_particles: tuple[int, ...] = ()
    """Particles of each task of a mixture, in the order of the tasks; default: --particles for all."""
    devices: int | None = None
    """Devices that share the population; default: all."""
    backend: BackendName = "shard_map"
    """How the population is mapped over devices."""
    reduction: Literal["psum", "ordered"] = "psum"
    """How estimates are summed; ordered with --chunk 1 is bitwise the same on any number of CPU devices."""
    chunk: int | None = None
    """Particles that a device runs at once; default: what fits a CPU's cache, elsewhere all of its share."""

    steps: int = 1000
    """Meta-steps to do in all."""
    seed: int = 0
    """Seed of everything random."""
    learning_rate: float = 3e-3
    """Peak learning rate of the outer Adam."""
    warmup: int = 20
    """Meta-steps of linear warm-up."""
    final_rate: float = 0.1
    """Learning rate at the end, as a fraction of the peak (cosine decay)."""
    gradient_clip: float = 1.0
    """Bound on the norm of the averaged meta-gradient."""
    particle_clip: float = 3.0
    """Bound on the norm of one particle's estimate."""

    steps_per_call: int = 10
    """Meta-steps between two returns to the host; also how often a line is logged."""
    validate_every: int = 100
    """Meta-steps between validations of the unperturbed theta."""
    validation_episodes: int = 16
    """Episodes per validation and task, the same ones every time."""
    validate_on: tuple[str, ...] = ()
    """Tasks to judge theta on, held-out ones say, as NAME or NAME:HORIZON (inner steps), all with the same
    weight: what is best on these is the best checkpoint. Default: the tasks trained on, by their weights, at
    the longest horizon."""
    reference_rates: int = 15
    """Learning rates among which an Adam is tuned on the validation's episodes, once, to be compared with; 0
    for no Adam, which saves a compilation."""
    hysteresis_particles: int = 2
    """Particles whose present episodes are replayed with each validation, to see what theta's motion within
    an episode does to their estimates; 0 for none, which saves a compilation."""

    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints; 0 for no such checkpoints."""
    checkpoint_every: int = 0
    """Meta-steps between checkpoints; 0 for no such checkpoints. There is also one at each validation that is
    the best so far, and one at the end."""
    keep_last: int = 3
    """How many of the newest checkpoints to keep; the best by validation is kept too."""
    keep_hours: float = 6.0
    """Hours between checkpoints that are kept for good; 0 for none."""

    progress: bool = True
    """Whether to show progress on standard error: a display on a terminal, plain lines elsewhere."""
    tracker: Literal["none", "wandb"] = "none"
    """Where numbers go beside metrics.jsonl in the run directory, which is always written."""
    wandb_mode: Literal["online", "offline", "disabled"] | None = None
    """W&B's mode; default: WANDB_MODE, or else online."""
    wandb_project: str = "lopt"
    """W&B project."""
    wandb_entity: str | None = None
    """W&B user or team; default: yours."""
    wandb_group: str | None = None
    """W&B group: what runs are compared under, a sweep's name say."""
    wandb_name: str | None = None
    """W&B's name of the run; default: the run directory's."""
    wandb_tags: tuple[str, ...] = ()
    """W&B tags."""
    wandb_notes: str | None = None
    """W&B notes."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):  # as in the files of older runs
            object.__setattr__(self, "task", (self.task,))
        positive = (
            "window sigma horizon_low horizon_high particles steps learning_rate gradient_clip particle_clip "
            "steps_per_call validate_every validation_episodes keep_last"
        )
        for name in positive.split():
            if not getattr(self, name) > 0:
                raise ValueError(f"{_flag(name)} must be positive, not {getattr(self, name)}")
        not_negative = (
            "warmup final_rate seed hysteresis_particles reference_rates checkpoint_seconds "
            "checkpoint_every keep_hours"
        )
        for name in not_negative.split():
            if getattr(self, name) < 0:
                raise ValueError(f"{_flag(name)} must not be negative, as {getattr(self, name)} is")
        parse_options(self.optimizer_options, "--optimizer-options")
        parse_options(self.estimator_options, "--estimator-options")
        check_names(self.task, "--task")
        check_numbers(self.task_weights, len(self.task), "--task-weights")
        check_numbers(self.task_particles, len(self.task), "--task-particles")
        parse_validations(self.validate_on, self.window)

    @property
    def weights(self) -> tuple[float, ...]:
        """The tasks' weights, in order; they sum to 1."""
        given = self.task_weights or (1.0,) * len(self.task)
        return tuple(weight / sum(given) for weight in given)

    @property
    def populations(self) -> tuple[int, ...]:
        """Particles of each task, in order."""
        return self.task_particles or (self.particles,) * len(self.task)

    @property
    def validations(self) -> tuple[Validation, ...]:
        """What theta is judged on, in order."""
        given = parse_validations(self.validate_on, self.window)
        return given or tuple(Validation(*pair) for pair in zip(self.task, self.weights, strict=True))

    def to_json(self) -> str:
        """Return the configuration as JSON text."""
        return json.dumps({"format": _FORMAT} | dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """Read what `to_json` wrote; files of older runs don't say their format.

        Raises:
            ValueError: for text that is not a run's configuration.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            said = values.pop("format", _FORMAT)
            if type(said) is int:
                raise ValueError("it is a published optimizer's")
            if said != _FORMAT:
                raise ValueError(f"its format is {said!r}, and this version of lopt reads {_FORMAT!r}")
            read: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**read)
        except (TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"not the configuration of a run ({error})") from error


MAY_CHANGE = frozenset(
    {
        *("steps", "steps_per_call", "devices", "backend", "chunk"),
        *("validate_every", "validation_episodes", "reference_rates", "hysteresis_particles"),
        *("checkpoint_seconds", "checkpoint_every", "keep_last", "keep_hours"),
        *("progress", "tracker", "wandb_mode", "wandb_project", "wandb_entity", "wandb_group"),
        *("wandb_name", "wandb_tags", "wandb_notes"),
    }
)
"""Fields that may differ when a run is resumed: they say how far, how often and where, not what."""


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """Return one phrase per field that differs and may not change in the middle of a run."""
    return [
        f"{_flag(field.name)} was {getattr(old, field.name)!r}, now {getattr(new, field.name)!r}"
        for field in dataclasses.fields(RunConfig)
        if field.name not in MAY_CHANGE and getattr(old, field.name) != getattr(new, field.name)
    ]


def parse_options(pairs: tuple[str, ...], flag: str) -> dict[str, Any]:
    """Parse NAME=VALUE pairs; values are Python literals, or else strings.

    Raises:
        ValueError: for a pair without a name or an equals sign.
    """
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ValueError(f"{flag} takes NAME=VALUE, as in hidden_size=8, not {pair!r}")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")

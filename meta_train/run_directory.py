"""A run's directory: `config.json`, `metrics.jsonl`, `checkpoints/`, `run.json`."""

from __future__ import annotations

import dataclasses
import json
import secrets
from pathlib import Path
from typing import Any

import jax

import lopt
from lopt import LearnedOptimizer

from .build import make_estimator, make_theta
from .checkpoints import restore_theta
from .config import RunConfig, differences
from .provenance import provenance


class RunDirectoryError(RuntimeError):
    """A run directory can't be used as asked."""


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The run's configuration."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One line of JSON per record."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Where orbax keeps the checkpoints."""
        return self.path / "checkpoints"

    @property
    def identity(self) -> Path:
        """The run's id and provenance."""
        return self.path / "run.json"

    def check(self, config: RunConfig) -> None:
        """Check that a configuration may run here; touch nothing.

        Raises:
            RunDirectoryError: when the directory holds another configuration, or something that is not a run.
        """
        if self.config.is_file():
            changed = differences(self.read_config(), config)
            if changed:
                raise RunDirectoryError(
                    f"{self.path} holds another run: {'; '.join(changed)}. Take the old values, "
                    "or another --run-dir"
                )
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise RunDirectoryError(
                f"{self.path} is not empty and holds no lopt run (no config.json): take another --run-dir"
            )

    def open(self, config: RunConfig, command: str) -> str:
        """Claim the directory for a configuration, or take it up again.

        Returns:
            The run's id.

        Raises:
            RunDirectoryError: as `check` does, and when the directory can't be made.
        """
        self.check(config)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(f"{self.path} can't be made: {error.strerror}") from error
        self.config.write_text(config.to_json())
        if not self.identity.is_file():
            identity = {"id": secrets.token_hex(4)} | provenance(command)
            self.identity.write_text(json.dumps(identity, indent=2) + "\n")
        return self.read_identity()["id"]

    def read_config(self) -> RunConfig:
        """Read the run's configuration.

        Raises:
            RunDirectoryError: when there is none, or it is none.
        """
        try:
            return RunConfig.from_json(self.config.read_text())
        except OSError as error:
            raise RunDirectoryError(f"{self.path} is no run directory: it has no config.json") from error
        except ValueError as error:
            raise RunDirectoryError(f"{self.config} is {error}; take another --run-dir") from error

    def read_identity(self) -> dict[str, Any]:
        """Read the run's id and provenance."""
        return json.loads(self.identity.read_text())


def load_run_optimizer(run_dir: str | Path) -> LearnedOptimizer:
    """Return the learned optimizer of a run, with theta from its newest checkpoint.

    Raises:
        RunDirectoryError: when it is no run directory.
        CheckpointError: when it holds no checkpoint.
    """
    return _load(RunDirectory(Path(run_dir)))[0]


def export_run(run_dir: str | Path, out_dir: str | Path) -> Path:
    """Publish a run's learned optimizer: `config.json` with its provenance, and `theta.safetensors`.

    Raises:
        RunDirectoryError: when it is no run directory.
        CheckpointError: when it holds no checkpoint.
    """
    run = RunDirectory(Path(run_dir))
    optimizer, meta_step = _load(run)
    config = run.read_config()
    estimator = make_estimator(config)
    inner_steps = meta_step * config.particles * estimator.steps_per_window
    origin = {key: value for key, value in run.read_identity().items() if key != "id"}
    return lopt.save(
        optimizer,
        out_dir,
        origin
        | {
            "tasks": [config.task],
            "estimator": config.estimator,
            "meta_steps": meta_step,
            "inner_steps": inner_steps,
            "horizon": list(estimator.horizon.bounds()),
        },
    )


def _load(run: RunDirectory) -> tuple[LearnedOptimizer, int]:
    # Theta's structure alone: neither the run's data nor its devices need be on this machine.
    config = run.read_config()
    return restore_theta(run.checkpoints, make_theta(config, jax.random.key(config.seed)))

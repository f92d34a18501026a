"""A run that takes a second or two, runs from Python, and `lopt-train` within the tests' own process."""

from contextlib import nullcontext

import jax
import pytest

from meta_train import Options, RunDirectory, Trainer
from meta_train.commands import session
from meta_train.commands.train import main

SMALL_RUN = Options.of(
    task=("quadratic",),
    optimizer="learnable-adam",
    horizon="constant",
    horizon_high=20,
    window=5,
    sigma=0.1,
    particles=4,
    devices=1,
    learning_rate=0.03,
    warmup=2,
    steps=12,
    steps_per_call=2,
    validate_every=6,
    validation_episodes=2,
)


def trained_run(path, config, command="lopt-train"):
    """Run from the start to the end; return the run's directory, and theta after each record."""
    run = RunDirectory(path)
    run.open(config.run(), command)
    trainer = Trainer(config.run(), run)
    thetas = [jax.device_get(trainer.theta) for _ in trainer.records()]
    trainer.close()
    return run, thetas


def train_here(*arguments):
    """Call `lopt-train`; return its exit status."""
    return run_here(main, *arguments)


def run_here(command, *arguments):
    """Call a command that trains; return its exit status. Devices and signals are the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "_place", lambda *_: None)
        patch.setattr(session, "StopOnSignal", lambda *_: nullcontext(lambda: False))
        return command([str(argument) for argument in arguments])

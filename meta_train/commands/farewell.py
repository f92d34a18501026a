"""The last message of `lopt-train`: the commands to type next, quoted for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from lopt import plain

from .launch import Launch

_SUITES = {
    "quadratics": ("quadratic",),
    "digits": ("digits-mlp",),
    "images": ("mnist", "digits-mlp-family"),
    "new-architecture": ("conv", "resnet", "autoencoder", "vae", "gru", "transformer"),
    "new-data": ("cancer", "wine", "diabetes", "procedural", "teacher", "mixture"),
}
"""Suites by parts of the names of their tasks."""


def again(launch: Launch, line: str) -> str:
    """Return how a stopped run is continued.

    Args:
        launch: how this process was started.
        line: the command line of this run, quoted for a shell.
    """
    return "the same job continues from there" if launch.several else f"resume with\n  {line}"


def suite_for(tasks: Sequence[str]) -> str:
    """Return a suite of `lopt-eval` that fits an optimizer which was trained on these tasks.

    It has the training task or tasks of its kind, so that the first benchmark tells whether the run worked.
    """
    for suite, words in _SUITES.items():
        if tasks and all(any(word in task for word in words) for task in tasks):
            return suite
    return "in-distribution" if len(tasks) > 1 else "digits"


def farewell(
    meta_step: int,
    over: bool,
    run_dir: Path,
    kind: str,
    launch: Launch,
    line: str,
    tasks: Sequence[str] = (),
) -> str:
    """Return a message with the run's progress and the next commands.

    Args:
        meta_step: meta-steps done.
        over: whether the run is complete.
        run_dir: the run's directory.
        kind: the kind of theta; an "optimizer" can be benchmarked.
        launch: how this process was started; its imported files are needed again.
        line: as for `again`.
        tasks: the names of what the run was trained on.
    """
    if not over:
        return f"stopped at meta-step {meta_step}; {again(launch, line)}"
    # A name that begins with a hyphen would be an option.
    path = shlex.quote(f"./{run_dir}" if str(run_dir).startswith("-") else str(run_dir))
    imports = f" --import {shlex.join(launch.imports)}" if launch.imports else ""
    lines = [f"lopt-runs show {path}"]
    if kind == "optimizer":
        lines.append(f"lopt-eval {path} --suite {suite_for(tasks)}{imports}")
    lines.append(f"lopt-export {path} OUT_DIR{imports}")
    return "\n  ".join((f"done: {meta_step} meta-steps in {plain(run_dir, 1000)}; next:", *lines))

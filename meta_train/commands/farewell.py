"""The last message of `lopt-train`: the commands to type next, quoted for a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

from .launch import Launch


def again(launch: Launch, line: str) -> str:
    """Return how a stopped run is continued.

    Args:
        launch: how this process was started.
        line: the command line of this run, quoted for a shell.
    """
    return "the same job goes on from there" if launch.several else f"resume with\n  {line}"


def farewell(meta_step: int, over: bool, run_dir: Path, kind: str, launch: Launch, line: str) -> str:
    """Return a message with the run's progress and the next commands.

    Args:
        meta_step: meta-steps done.
        over: whether the run is complete.
        run_dir: the run's directory.
        kind: the kind of theta; an "optimizer" can be benchmarked.
        launch: how this process was started; its imported files are needed again.
        line: as for `again`.
    """
    if not over:
        return f"stopped at meta-step {meta_step}; {again(launch, line)}"
    # A name that begins with a hyphen would be an option.
    path = shlex.quote(f"./{run_dir}" if str(run_dir).startswith("-") else str(run_dir))
    imports = f" --import {shlex.join(launch.imports)}" if launch.imports else ""
    evaluate = f"\n  lopt-eval {path} --suite digits{imports}" if kind == "optimizer" else ""
    return (
        f"done: {meta_step} meta-steps in {run_dir}; next:\n  lopt-export {path} OUT_DIR{imports}{evaluate}"
    )

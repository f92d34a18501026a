"""Reading of theta and of the run's information from a checkpoint, without resuming the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from ..host.checksums import damage
from .checkpoints import SCORE, CheckpointError, reason, shape_of
from .files import steps_in
from .literal_path import literal


def restore_theta(
    directory: Path, theta: Any, step: int | None = None, best: bool = False
) -> tuple[Any, int]:
    """Read only theta.

    Args:
        directory: the run's checkpoints.
        theta: a tree of theta's structure, shapes and dtypes.
        step: the checkpoint's meta-step; None for the newest.
        best: whether to read the best by validation instead.

    Returns:
        Theta and its meta-step.

    Raises:
        CheckpointError: if there is none, or it does not fit.
    """
    run = directory.parent
    if not directory.is_dir():
        raise CheckpointError(f"{run} holds no checkpoint")
    options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics[SCORE], best_mode="min")
    with ocp.CheckpointManager(literal(directory), options=options) as manager:
        chosen = _choose(manager, run, step, best)
        wrong = damage(directory / str(chosen))
        if wrong is not None:
            others = ", ".join(str(other) for other in manager.all_steps() if other != chosen)
            raise CheckpointError(
                f"checkpoint {chosen} of {run} is damaged ({wrong}): take another ({others})"
            )
        one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        item = {"run": {"theta": jax.tree.map(lambda x: shape_of(x, one), theta)}}
        arguments = ocp.checkpoint_utils.construct_restore_args(item)
        partial = ocp.args.PyTreeRestore(item=item, restore_args=arguments, partial_restore=True)
        try:
            restored = manager.restore(chosen, args=ocp.args.Composite(run=partial))["run"]
        except Exception as error:  # orbax raises bare exceptions on damaged files
            raise CheckpointError(
                f"checkpoint {chosen} of {run} can't be restored: {reason(error)}"
            ) from error
    return restored["run"]["theta"], chosen


def read_about(directory: Path, step: int | None = None) -> dict[str, Any] | None:
    """Read a checkpoint's information about its run, by default of the newest; None if it can't be read."""
    if not steps_in(directory):
        return None
    with ocp.CheckpointManager(literal(directory)) as manager:
        try:
            about = manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
        except Exception:  # orbax raises bare exceptions on damaged files
            return None
    return about if isinstance(about, dict) else None


def _choose(manager: ocp.CheckpointManager, run: Path, step: int | None, best: bool) -> int:
    steps = sorted(manager.all_steps())
    if not steps:
        raise CheckpointError(f"{run} holds no checkpoint yet")
    if best:
        chosen = manager.best_step()
        if chosen is None:
            raise CheckpointError(f"{run} holds no checkpoint that was validated")
        return chosen
    if step is not None and step not in steps:
        raise CheckpointError(f"{run} holds no checkpoint {step}, but {', '.join(map(str, steps))}")
    return steps[-1] if step is None else step

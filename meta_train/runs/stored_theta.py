"""Reading of theta and of the run's information from a checkpoint, without resuming the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from ..host.checksums import damage
from .checkpoints import SCORE, CheckpointError, reason, shape_of
from .files import steps_in
from .literal_path import literal


def restore_theta(
    directory: Path, theta: Any, step: int | None = None, best: bool = False, average: int = 1
) -> tuple[Any, list[int]]:
    """Read only theta.

    Args:
        directory: the run's checkpoints.
        theta: a tree of theta's structure, shapes and dtypes.
        step: the checkpoint's meta-step; None for the newest.
        best: whether to read the best by validation instead.
        average: how many thetas to take the mean of: that of this checkpoint, and those of the ones before.

    Returns:
        Theta, and the meta-steps that it is of, ascending.

    Raises:
        CheckpointError: if there are none or too few, or one does not fit.
    """
    run = directory.parent
    if not directory.is_dir():
        raise CheckpointError(f"{run} holds no checkpoint")
    options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics[SCORE], best_mode="min")
    with ocp.CheckpointManager(literal(directory), options=options) as manager:
        chosen = _choose(manager, run, step, best, average)
        one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        item = {"run": {"theta": jax.tree.map(lambda x: shape_of(x, one), theta)}}
        arguments = ocp.checkpoint_utils.construct_restore_args(item)
        partial = ocp.args.PyTreeRestore(item=item, restore_args=arguments, partial_restore=True)
        thetas = [_restore(manager, directory, meta_step, partial) for meta_step in chosen]
    return thetas[0] if len(thetas) == 1 else jax.tree.map(_mean, *thetas), chosen


def _restore(manager: ocp.CheckpointManager, directory: Path, step: int, theta: Any) -> Any:
    """Return the theta of one checkpoint."""
    run = directory.parent
    wrong = damage(directory / str(step))
    if wrong is not None:
        others = ", ".join(str(other) for other in manager.all_steps() if other != step)
        raise CheckpointError(f"checkpoint {step} of {run} is damaged ({wrong}): take another ({others})")
    try:
        restored = manager.restore(step, args=ocp.args.Composite(run=theta))["run"]
    except Exception as error:  # orbax raises bare exceptions on damaged files
        raise CheckpointError(f"checkpoint {step} of {run} can't be restored: {reason(error)}") from error
    return restored["run"]["theta"]


def _mean(*leaves: jax.Array) -> jax.Array:
    """Return the mean of an array of several thetas, summed in double precision."""
    return jnp.asarray(np.mean(np.stack(leaves), axis=0, dtype=np.float64).astype(leaves[0].dtype))


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


def _choose(
    manager: ocp.CheckpointManager, run: Path, step: int | None, best: bool, average: int
) -> list[int]:
    """Return the meta-steps of the checkpoints asked for, ascending."""
    if average < 1:
        raise CheckpointError(f"the mean of {average} checkpoints was asked for: take at least 1")
    steps = sorted(manager.all_steps())
    if not steps:
        raise CheckpointError(f"{run} holds no checkpoint yet")
    if best:
        step = manager.best_step()
        if step is None:
            raise CheckpointError(f"{run} holds no checkpoint that was validated")
    if step is not None and step not in steps:
        raise CheckpointError(f"{run} holds no checkpoint {step}, but {', '.join(map(str, steps))}")
    chosen = [one for one in steps if step is None or one <= step][-average:]
    if len(chosen) < average:
        raise CheckpointError(
            f"{run} holds {len(chosen)} checkpoint{'s' * (len(chosen) > 1)} up to meta-step {chosen[-1]}, "
            f"not the {average} whose mean was asked for: lopt-train keeps the newest --keep-last"
        )
    return chosen

"""Checkpoints of a run: a thin module over orbax, so that nothing else knows it.

A checkpoint holds everything that decides the future: theta, the outer optimizer, every particle, the key
and the meta-step. Saves are asynchronous; an error of one surfaces at the next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from .step import MetaState

_KEEP = 3


class CheckpointError(RuntimeError):
    """A run directory holds no checkpoint that can be restored."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: where they are; made when it is not there.
    """

    def __init__(self, directory: Path) -> None:
        policies = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.LatestN(_KEEP), cleanup_tmp_directories=True
        )
        # orbax fails on relative paths, and only in the background.
        self._manager = ocp.CheckpointManager(directory.resolve(), options=options)

    def latest(self) -> int | None:
        """Return the meta-step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: MetaState, particles: Any) -> None:
        """Save in the background; what is saved may be donated at once."""
        step = int(state.meta_step)
        if step != self.latest():
            tree = {"run": state, "particles": particles}
            self._manager.save(step, args=ocp.args.StandardSave(tree), force=True)

    def restore(self, state: MetaState, particles: Any) -> tuple[MetaState, Any]:
        """Restore the newest checkpoint into the structure, dtypes and placement of the given trees.

        Raises:
            CheckpointError: when there is none, or it does not fit.
        """
        step = self.latest()
        if step is None:
            raise CheckpointError(f"{self._manager.directory} holds no checkpoint")
        abstract = jax.tree.map(_abstract, {"run": state, "particles": particles})
        restored = _restore(self._manager, step, ocp.args.StandardRestore(abstract))
        return restored["run"], restored["particles"]

    def close(self) -> None:
        """Wait for the save in flight."""
        self._manager.wait_until_finished()
        self._manager.close()


def restore_theta(directory: Path, theta: Any) -> tuple[Any, int]:
    """Read theta alone from the newest checkpoint.

    Args:
        directory: the run's checkpoints.
        theta: a tree of theta's structure, shapes and dtypes.

    Returns:
        Theta and its meta-step.

    Raises:
        CheckpointError: when there is none, or it does not fit.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory.parent} holds no checkpoint")
    with ocp.CheckpointManager(directory.resolve()) as manager:
        step = manager.latest_step()
        if step is None:
            raise CheckpointError(f"{directory.parent} holds no checkpoint yet")
        one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        item = {"run": {"theta": jax.tree.map(lambda x: _abstract(x, one), theta)}}
        arguments = ocp.checkpoint_utils.construct_restore_args(item)
        restored = _restore(
            manager, step, ocp.args.PyTreeRestore(item=item, restore_args=arguments, partial_restore=True)
        )
    return restored["run"]["theta"], step


def _restore(manager: ocp.CheckpointManager, step: int, arguments: Any) -> Any:
    try:
        return manager.restore(step, args=arguments)
    except Exception as error:  # orbax raises bare exceptions on damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"checkpoint {step} in {manager.directory} can't be restored: {reason}"
        ) from error


def _abstract(x: jax.Array, sharding: Any = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding)

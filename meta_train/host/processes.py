"""Several processes that train one theta, by JAX's own multi-controller runtime.

Every process runs the same program on its own devices. Process 0 alone logs and draws; all of them take part
in every collective, so what decides the course of the loop is agreed on here.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

CRASHED = 70
"""Exit status after an error that nobody foresaw (EX_SOFTWARE): a launcher may try again."""


def is_main() -> bool:
    """Tell whether this is the process that logs: number 0, or the only one."""
    return jax.process_index() == 0


def any_of(flags: Sequence[bool]) -> tuple[bool, ...]:
    """Return, in all processes, which flags are up in at least one; waits for their devices."""
    if jax.process_count() == 1:
        return tuple(flags)
    from jax.experimental import multihost_utils

    return tuple(bool(flag) for flag in np.any(multihost_utils.process_allgather(np.array(flags)), axis=0))


def from_main(tree: Any) -> Any:
    """Return, in all processes, process 0's numbers; the others' must have the same shapes and dtypes."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(tree)


def leave_at_once(status: int) -> None:
    """End this process where there are others.

    An ordinary exit would wait for them in JAX's shutdown barrier, and they would wait for this one in their
    next collective; when it is gone, JAX aborts them. Does nothing for a process on its own.
    """
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def leave_after_crash() -> None:
    """Print the exception in hand and end this process, where there are others."""
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        print(f"lopt-train: process {jax.process_index()} crashed:", file=sys.stderr)
        traceback.print_exc()
        leave_at_once(CRASHED)

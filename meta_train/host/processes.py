"""Several processes that train one theta, by JAX's own multi-controller runtime.

Every process runs the same program on its own devices. Only process 0 writes logs and figures. All processes
take part in every collective, so these functions make them agree on everything that decides the course of the
loop.
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
"""Exit status after an unexpected error (EX_SOFTWARE): a launcher may try again."""


def is_main() -> bool:
    """Return whether this is the process that logs: number 0, or the only one."""
    return jax.process_index() == 0


def any_of(flags: Sequence[bool]) -> tuple[bool, ...]:
    """Return, in all processes, which flags are set in at least one; waits for their devices."""
    if jax.process_count() == 1:
        return tuple(flags)
    from jax.experimental import multihost_utils

    return tuple(bool(flag) for flag in np.any(multihost_utils.process_allgather(np.array(flags)), axis=0))


def from_main(tree: Any) -> Any:
    """Return the arrays of process 0 in all processes; the others' must have the same shapes and dtypes."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(tree)


def leave_at_once(status: int) -> None:
    """End this process immediately if there are others.

    An ordinary exit would wait for them in JAX's shutdown barrier, while they wait for this one in their next
    collective. Once it is gone, JAX aborts them. Does nothing in a single process.
    """
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def leave_after_crash() -> None:
    """Print the current exception and end this process, if there are others."""
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        print(f"lopt-train: process {jax.process_index()} crashed:", file=sys.stderr)
        traceback.print_exc()
        leave_at_once(CRASHED)

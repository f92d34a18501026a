"""The errors that are reported in one sentence; others keep their traceback."""

from __future__ import annotations

import errno

import lopt
import tasks

USAGE_ERRORS = (lopt.UsageError, tasks.UsageError)
"""Errors for requests that can't be fulfilled; a ValueError of a user's own code is not among them."""

_OF_THE_DISK = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
)


def is_of_the_disk(error: OSError) -> bool:
    """Return whether an error means a full, read-only or missing disk, rather than a missing file."""
    return error.errno in _OF_THE_DISK

"""Which errors are told in one sentence; the others keep their traceback."""

from __future__ import annotations

import errno

import lopt
import tasks

USAGE_ERRORS = (lopt.UsageError, tasks.UsageError)
"""What a user asked for can't be done; a ValueError of a user's own code is none of these."""

_OF_THE_DISK = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
)


def is_of_the_disk(error: OSError) -> bool:
    """Tell whether a disk is full, read-only or gone, rather than a file that some code expects."""
    return error.errno in _OF_THE_DISK

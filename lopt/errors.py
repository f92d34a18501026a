"""The error that is reported to users in one sentence."""

from __future__ import annotations


class UsageError(ValueError):
    """A request that can't be fulfilled; the message is a sentence that says what to write instead.

    Commands print only the message. Every other error is a bug in lopt or in a user's own code, and keeps its
    traceback.
    """

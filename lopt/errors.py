"""What users are told in one sentence."""

from __future__ import annotations


class UsageError(ValueError):
    """What was asked for can't be done; the message is a sentence that says what to write instead.

    Commands print it alone. Every other error is a fault of lopt or of a user's own code, and keeps its
    traceback.
    """

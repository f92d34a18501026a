"""What a tracker is, and the two that hold nothing themselves."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from .values import Values


class Tracker(abc.ABC):
    """A place for numbers; as a context manager, it closes itself."""

    @abc.abstractmethod
    def log(self, step: int, values: Values) -> None:
        """Record the values of meta-step `step`; NaN means that there is no value this time."""

    @abc.abstractmethod
    def close(self) -> None:
        """Finish; nothing is logged after."""

    def log_artifact(  # noqa: B027 (to pass it over is a fine default)
        self, path: Path, name: str, type: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Keep a file or a directory; a tracker that has no place for files passes it over.

        Args:
            path: what to keep. It may be read until `close` returns.
            name: what it is called; the same name again is a new version of it.
            type: what kind of thing it is, such as "optimizer".
            metadata: what to say about it, in JSON's types.
        """

    def __enter__(self) -> Self:
        """Give the tracker itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()


class NoTracker(Tracker):
    """Forgets everything."""

    def log(self, step: int, values: Values) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Several(Tracker):
    """Passes everything to several trackers, in order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def log(self, step: int, values: Values) -> None:
        """Log to each."""
        for tracker in self._trackers:
            tracker.log(step, values)

    def log_artifact(
        self, path: Path, name: str, type: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Give it to each."""
        for tracker in self._trackers:
            tracker.log_artifact(path, name, type, metadata)

    def close(self) -> None:
        """Close each."""
        for tracker in self._trackers:
            tracker.close()

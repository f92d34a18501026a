"""The tracker interface, and the trackers without a destination of their own."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from .values import Values


class Tracker(abc.ABC):
    """A destination of metrics; as a context manager, it closes itself."""

    @abc.abstractmethod
    def log(self, step: int, values: Values) -> None:
        """Record the values of meta-step `step`; NaN means that there is no value."""

    @abc.abstractmethod
    def close(self) -> None:
        """Finish; nothing may be logged afterwards."""

    def log_artifact(  # noqa: B027 (ignoring it is a fine default)
        self, path: Path, name: str, type: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Store a file or a directory; a tracker that can't store files ignores it.

        Args:
            path: the file or directory. It may be read until `close` returns.
            name: the artifact's name; the same name again makes a new version.
            type: the artifact's kind, such as "optimizer".
            metadata: a description, in JSON's types.
        """

    def __enter__(self) -> Self:
        """Return the tracker itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()


class NoTracker(Tracker):
    """A tracker that discards everything."""

    def log(self, step: int, values: Values) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Several(Tracker):
    """A tracker that passes everything to several others, in order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def log(self, step: int, values: Values) -> None:
        """Log to each."""
        for tracker in self._trackers:
            tracker.log(step, values)

    def log_artifact(
        self, path: Path, name: str, type: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Pass it to each."""
        for tracker in self._trackers:
            tracker.log_artifact(path, name, type, metadata)

    def close(self) -> None:
        """Close each."""
        for tracker in self._trackers:
            tracker.close()

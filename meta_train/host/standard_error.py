"""Lets training continue if standard error fails: a closed pipe, a closed terminal, a full disk."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any


class _Forgiving:
    """A stream that silently discards its output after the first failed write."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._forgiven():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        with self._forgiven():
            self._stream.flush()

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: it was closed
            # Flushing the rest of its buffer would fail again, at the latest when Python exits.
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


@contextlib.contextmanager
def forgiving_standard_error() -> Iterator[None]:
    """Let no write to standard error fail within the context, because a display must not end a run."""
    before = sys.stderr
    if before is None:  # it was closed before Python started
        yield
        return
    forgiving = _Forgiving(before)
    sys.stderr = forgiving
    try:
        yield
    finally:
        forgiving.flush()
        if sys.stderr is forgiving:
            sys.stderr = before

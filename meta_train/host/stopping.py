"""Stopping on signals: finish the call in flight, save, and exit in time."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TWICE = 0.5
"""Seconds within which a second signal is ignored, because launchers and clusters deliver signals twice."""

_unsaved: list[bool] = []  # one entry per nested `nothing_to_save`


class StopOnSignal:
    """Within its context, a signal requests a stop; a second one, or too long a wait, stops immediately.

    The signals are SIGINT, SIGTERM and SIGHUP; SIGHUP stays ignored if it was, as under `nohup`. A separate
    thread handles them, because Python's handlers would wait for a compilation to end.

    Args:
        grace: seconds from the first signal until the process ends, saved or not.
        status: exit status if it ends without having saved.
        late: message to print in that case.
    """

    def __init__(self, grace: float, status: int, late: str) -> None:
        self._status, self._late = status, late
        self._asked = threading.Event()
        self._heard_at = 0.0
        self._timer = threading.Timer(grace, self._give_up)
        self._timer.daemon = True
        self._restore: Callable[[], None] = lambda: None

    def __call__(self) -> bool:
        """Return whether a stop was requested."""
        return self._asked.is_set()

    def __enter__(self) -> Self:
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        # Without a Python handler, the signal's number is not written to the wakeup fd.
        handlers = {number: signal.signal(number, lambda *_: None) for number in _heeded()}

        def restore() -> None:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            sender.close()

        self._restore = restore
        threading.Thread(target=self._listen, args=(receiver,), name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._restore()

    def _listen(self, receiver: socket.socket) -> None:
        with receiver:
            while heard := receiver.recv(1):
                if heard[0] in _SIGNALS:
                    self._hear(heard[0])

    def _hear(self, number: int) -> None:
        if _unsaved:
            _say("stopped before anything was begun")
            os._exit(128 + number)
        if self._asked.is_set():
            if time.monotonic() - self._heard_at < _TWICE:
                return
            _say("stopped at once; the newest checkpoint stands")
            os._exit(128 + number)
        self._heard_at = time.monotonic()
        self._asked.set()
        self._timer.start()
        _say("stopping after the call in flight; once more to stop at once")

    def _give_up(self) -> None:
        _say(self._late)
        os._exit(self._status)


@contextmanager
def nothing_to_save() -> Iterator[None]:
    """Let the first signal end the process immediately: the code within may never end, and saves nothing."""
    _unsaved.append(True)
    try:
        yield
    finally:
        _unsaved.pop()


def _heeded() -> list[signal.Signals]:
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in _SIGNALS if not (number == signal.SIGHUP and ignored)]


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)

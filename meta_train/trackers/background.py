"""Work that must never hold up its caller."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

Call = Callable[[], object]


class Background:
    """Makes calls one after another, in a thread of its own that ends with the process.

    The first call that raises, or one that finds `capacity` others waiting, ends it: `complain` is told why,
    once, and further calls are dropped.

    Args:
        complain: told the reason, in either thread.
        capacity: calls that may wait.
    """

    def __init__(self, complain: Callable[[str], None], capacity: int) -> None:
        self._calls: queue.Queue[tuple[Call, bool]] = queue.Queue(capacity)
        self._complain, self._capacity = complain, capacity
        self._lock = threading.Lock()
        self._over = False
        self._thread = threading.Thread(target=self._work, name="lopt-background", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether calls are dropped."""
        return self._over

    def submit(self, call: Call) -> None:
        """Have a call made some time; return at once."""
        if self._over:
            return
        try:
            self._calls.put_nowait((call, False))
        except queue.Full:
            self._give_up(f"it is {self._capacity} records behind")

    def finish(self, call: Call, seconds: float) -> bool:
        """Have a last call made, whatever came before.

        Args:
            call: the last one.
            seconds: how long to wait for it, and for all before it.

        Returns:
            Whether everything was done in time; if not, the thread is left to itself.
        """
        deadline = time.monotonic() + seconds
        try:
            self._calls.put((call, True), timeout=seconds)
        except queue.Full:
            return False
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _work(self) -> None:
        last = False
        while not last:
            call, last = self._calls.get()
            if self._over and not last:
                continue
            try:
                call()
            except Exception as error:  # whatever it is, the caller's own work matters more
                self._give_up(str(error) or type(error).__name__)

    def _give_up(self, reason: str) -> None:
        with self._lock:
            first, self._over = not self._over, True
        if first:
            self._complain(reason)

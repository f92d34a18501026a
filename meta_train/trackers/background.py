"""Background work that never blocks its caller."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

Call = Callable[[], object]


class Background:
    """Makes calls one after another, in a separate thread that ends with the process.

    The first call that raises, or that finds `capacity` others waiting, ends it: `complain` is called once
    with the reason, and further calls are dropped.

    Args:
        complain: called with the reason, in either thread.
        capacity: largest number of waiting calls.
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
        """Schedule a call; return immediately."""
        if self._over:
            return
        try:
            self._calls.put_nowait((call, False))
        except queue.Full:
            self._give_up(f"it is {self._capacity} records behind")

    def finish(self, call: Call, seconds: float) -> bool:
        """Schedule a last call, which is made even if earlier calls failed, and wait.

        Args:
            call: the last call.
            seconds: how long to wait for it, and for all calls before it.

        Returns:
            Whether all calls were done in time; if not, the thread keeps running.
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
            except Exception as error:  # no error may affect the caller's own work
                self._give_up(str(error) or type(error).__name__)

    def _give_up(self, reason: str) -> None:
        with self._lock:
            first, self._over = not self._over, True
        if first:
            self._complain(reason)

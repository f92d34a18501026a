"""Exchanges the pools of streamed data while a run trains."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from tasks import Pool, Stream

from ..population.mesh import Devices


class Feed:
    """The dynamics of a run, whose pools are exchanged from turn to turn.

    A turn is a function of the meta-step, so that nothing is stored and a resumed run goes on as it would
    have. The next turn is read in a thread and placed on the devices while the present one is in use. So
    there are two turns of a source on each device, and at most one on the host; whoever made the dynamics
    holds turn 0 besides.

    Args:
        dynamics: the dynamics by member name, with turn 0 in every pool. Pools that share a stream share the
            arrays, too.
        devices: where they are placed, as constants of the meta-step.
        steps: meta-steps of the run.
    """

    def __init__(self, dynamics: Any, devices: Devices, steps: int) -> None:
        self._dynamics, self._devices, self._steps = devices.replicate(dynamics), devices, steps
        pools = [node for node in jax.tree.leaves(dynamics, is_leaf=_is_pool) if _is_pool(node)]
        self._shapes = {
            pool.stream: [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in pool.held] for pool in pools
        }
        self._turns = dict.fromkeys(self._shapes, 0)
        self._next: dict[Stream, tuple[int, Future[Any]]] = {}
        self._thread = ThreadPoolExecutor(1, "feed") if pools else None

    def allowed(self, meta_step: int, count: int) -> int:
        """Return how many of `count` meta-steps can be done before a pool is exchanged, at least one.

        Args:
            meta_step: meta-steps done.
            count: the number of meta-steps that is asked for.
        """
        return min([count, *(stream.left(meta_step) for stream in self._turns)])

    def at(self, meta_step: int) -> Any:
        """Return the dynamics of a meta-step, on the devices; start to read what comes next.

        Args:
            meta_step: meta-steps done.

        Raises:
            UsageError: if a source gives rows of other shapes.
        """
        for stream, present in self._turns.items():
            turn = stream.turn(meta_step)
            if turn != present:
                self._exchange(stream, turn)
            if (turn + 1) * stream.every < self._steps:
                self._read(stream, turn + 1)
        return self._dynamics

    def close(self) -> None:
        """Stop reading; wait for the turn that is being read."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._next.clear()

    def _read(self, stream: Stream, turn: int) -> Future[Any]:
        """Return a turn that is being read, on the devices."""
        reading, found = self._next.get(stream, (None, None))
        if found is not None and reading == turn:
            return found
        assert self._thread is not None
        found = self._thread.submit(self._fetch, stream, turn)
        self._next[stream] = turn, found
        return found

    def _fetch(self, stream: Stream, turn: int) -> Any:
        return self._devices.load(stream.read(turn, self._shapes[stream]))

    def _exchange(self, stream: Stream, turn: int) -> None:
        rows = self._read(stream, turn).result()
        del self._next[stream]
        refill = lambda node: node.exchanged(rows) if _has(node, stream) else node  # noqa: E731
        self._dynamics = jax.tree.map(refill, self._dynamics, is_leaf=_is_pool)
        self._turns[stream] = turn


def _is_pool(node: Any) -> bool:
    return isinstance(node, Pool) and node.stream is not None


def _has(node: Any, stream: Stream) -> bool:
    return _is_pool(node) and node.stream == stream

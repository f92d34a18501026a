"""The meta-step of a mixture in several programs: one for each member's windows, and one for the update.

The compiler works on one program on one core, and needs minutes for that of a dozen members. Several are
compiled at once, while the next are traced. A member's program does not depend on the others: it is found in
the compilation cache in whatever mixture the member is, and members of the same shapes share one.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..host.cores import usable_cores
from .diagnostics import diagnose
from .mixture import Member
from .phases import MetaState, Phases, Place
from .tally import Metrics, Tally

_IN_FLIGHT = 8
"""Programs that are dispatched and not done.

XLA's CPU client has 32 places a device. Once they are taken, a launch waits for one in a thread that another
device's share of an all-reduce needs, and the process ends after a minute.
"""


class Programs:
    """A meta-step, called as `make_meta_step` says; the first call compiles.

    The host dispatches the programs of all members and the update of each meta-step, and waits for those
    before the last few only. All sums over devices are in the update.

    Args:
        phases: the phases of a meta-step.
    """

    def __init__(self, phases: Phases) -> None:
        devices, members = phases.mixture.devices, phases.mixture.members
        places = {m.name: _arrays(*phases.mixture.place(m)) for m in members}
        self._phases, self._members, self._places = phases, members, devices.replicate(places)
        sizes = {member.particles for member in members}
        of_size = {n: devices.compile(functools.partial(self._window, n)) for n in sizes}
        self.windows: dict[str, Any] = {member.name: of_size[member.particles] for member in members}
        """The members' jitted windows, by name, of their `arguments`."""
        self.update = devices.compile(self._update, donated=(0,))
        """The jitted update, of (state, the members' sums, ())."""
        self._compiled = devices.backend == "pmap"  # which compiles only when it is called
        self._in_flight: deque[Any] = deque()

    def __call__(self, state: MetaState, particles: Any, constants: Any) -> tuple[MetaState, Any, Metrics]:
        """Run `count` meta-steps, given in the constants (dynamics, count)."""
        dynamics, count = constants
        if not self._compiled:
            self._compile(state, particles, dynamics)
            self._compiled = True
        particles, totals = dict(particles), None
        for _ in range(int(count)):
            sums = {}
            for member in self._members:
                arguments = self.arguments(member, state, particles, dynamics)
                _, (particles[member.name], sums[member.name]), _ = self.windows[member.name](*arguments)
                self._dispatched(sums[member.name])
            state, _, tally = self.update(state, sums, ())
            totals = tally if totals is None else _add(totals, tally)
            self._dispatched(tally)
        return state, particles, _means(totals, count, self._phases.mixture.particles)

    def _dispatched(self, results: Any) -> None:
        """Wait for the oldest program if too many are in flight; its results may not be donated."""
        self._in_flight.append(results)
        if len(self._in_flight) > _IN_FLIGHT:
            jax.block_until_ready(self._in_flight.popleft())

    def _window(self, size: int, nothing: tuple[()], members: Any, constants: Any) -> tuple[Any, Any, Any]:
        """Run a window of a member's particles on each device; return their sums with an axis of devices."""
        now, dynamics, place = constants
        members, *found = self._phases.window(size, now, members, dynamics, place)
        sums = self._phases.mixture.devices.add_up(tuple(found))
        return nothing, (members, jax.tree.map(lambda x: x[None], sums)), ()

    def _update(self, state: MetaState, sums: Any, nothing: tuple[()]) -> tuple[MetaState, Any, Tally]:
        """Update theta on each device."""
        state, tally = self._phases.update(state, jax.tree.map(lambda x: x[0], sums))
        return state, nothing, tally

    def arguments(self, member: Member, state: MetaState, particles: Any, dynamics: Any) -> tuple[Any, ...]:
        """Return the arguments of a member's windows, of which the second is donated."""
        name = member.name
        return (), particles[name], (self._phases.now(state, member), dynamics[name], self._places[name])

    def _compile(self, state: MetaState, particles: Any, dynamics: Any) -> None:
        """Trace one program after the other, and compile those that are traced, a core each.

        When the jitted functions are called, JAX finds what is compiled.
        """
        # In a job of several processes, all compile in the same order.
        with ThreadPoolExecutor(usable_cores() if jax.process_count() == 1 else 1) as pool:
            compiling: dict[Hashable, Future[Any]] = {}
            for member in self._members:
                arguments = self.arguments(member, state, particles, dynamics)
                if (kind := _kind(arguments)) not in compiling:
                    compiling[kind] = pool.submit(self.windows[member.name].lower(*arguments).compile)
            for compiled in compiling.values():
                compiled.result()


def _arrays(first: int, share: float) -> Place:
    return Place(jnp.asarray(first, jnp.int32), jnp.asarray(share, jnp.float32))


def _kind(arguments: Any) -> Hashable:
    """Return what two calls have in common that can be of one program."""
    leaves, treedef = jax.tree.flatten(arguments)
    return treedef, tuple((jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in leaves)


@jax.jit
def _add(totals: Tally, tally: Tally) -> Tally:
    return jax.tree.map(jnp.add, totals, tally)


@functools.partial(jax.jit, static_argnames="particles")
def _means(totals: Tally, count: Int[Array, ""], particles: int) -> Metrics:
    means = jax.tree.map(lambda total: total / count.astype(total.dtype), totals)
    return diagnose(means, particles)

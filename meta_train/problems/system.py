"""Training on a registered system: a recurrent network over a sequence, a policy, a closed form.

Importing this module imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lopt
from lopt import UsageError

from .base import PROBLEMS, Problem, Training
from .options import parse_options

if TYPE_CHECKING:
    from ..dynamics import Theta
    from ..systems.catalogue import System


@PROBLEMS.register("system")
@dataclasses.dataclass(frozen=True)
class SystemProblem(Problem):
    """Train theta on a system of `meta_train.systems`, or one of your own (`register_system`)."""

    system: str = "influence-balancing"
    """The system; `--problem NAME` is short for `--problem system --system NAME`."""
    system_options: tuple[str, ...] = ()
    """Options of the system, as NAME=VALUE."""

    def __post_init__(self) -> None:
        parse_options(self.system_options, "--system-options")

    @property
    def names(self) -> tuple[str, ...]:
        """The system's name."""
        return (self.system,)

    def members(self) -> dict[str, Training]:
        """Return the system.

        Raises:
            UsageError: for an unknown system, with similar ones, or an unknown option.
        """
        return {self.system: Training(self._made[0])}

    def theta(self, key: Any) -> Theta:
        """Return the initial theta of the system's published experiments."""
        return self._made[1](key)

    def about(self) -> dict[str, Any]:
        """Return the system and its options."""
        return {"system": self.system, "system_options": list(self.system_options)}

    def publish(self, theta: Theta, directory: Path, origin: dict[str, Any]) -> Path:
        """Write theta.safetensors, with a name for each leaf, and config.json."""
        from .published import save_theta

        return save_theta(theta, directory, "system", self.about(), origin)

    @functools.cached_property
    def _made(self) -> System:
        from ..systems.catalogue import SYSTEMS

        make = lopt.look_up("system", SYSTEMS, self.system)
        options = parse_options(self.system_options, "--system-options")
        known = inspect.signature(make).parameters
        for name in options:
            if name not in known:
                takes = ", ".join(known) or "no options"
                raise UsageError(f"system {self.system} has no {name}: it takes {takes}")
            _check(known[name].default, options[name], f"system {self.system}: {name}")
        return make(**options)


def _check(default: Any, value: Any, what: str) -> None:
    """Check that a value is of the default's kind, and, if a number, finite; integers must be above 0.

    Raises:
        UsageError: if it is not; the message says what it must be.
    """
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        fits, kind = type(value) is type(default), type(default).__name__
    elif isinstance(default, int):
        fits, kind = type(value) is int and 0 < value < 2**31, "a whole number above 0"
    else:
        fits, kind = type(value) in (int, float) and math.isfinite(value), "a finite number"
    if not fits:
        raise UsageError(f"{what} must be {kind}, not {value!r}")

"""A gradient estimator: the meta-gradient from one window of one particle."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics, Theta


class Estimate(NamedTuple):
    """What a particle says after one window."""

    gradient: Theta
    """Estimate of the meta-gradient, shaped like theta."""
    metrics: dict[str, Float[Array, ""]]
    """Scalars by name; `loss`, `objective`, `finished` and `diverged` are always there."""


@dataclasses.dataclass(frozen=True)
class Estimator(abc.ABC):
    """Estimates the gradient of the meta-objective, one window at a time.

    An estimator holds no arrays: it is its own configuration. It handles a single particle; populations are
    a `vmap`, devices a mesh (`step.py`, `mesh.py`).
    """

    @abc.abstractmethod
    def init(self, dynamics: Dynamics, theta: Theta) -> Any:
        """Return the state of a particle that has no episode yet; the first `step` starts one."""

    @abc.abstractmethod
    def step(
        self, dynamics: Dynamics, theta: Theta, state: Any, key: Key[Array, ""], meta_step: Int[Array, ""]
    ) -> tuple[Any, Estimate]:
        """Advance the particle by one window, starting an episode first where the last one is over.

        Args:
            dynamics: the unrolled graph.
            theta: the present meta-parameters.
            state: what `init` or the last `step` returned.
            key: fresh randomness for this particle and window.
            meta_step: meta-steps done so far.

        Returns:
            The next state, and the estimate from this window.
        """

    @property
    @abc.abstractmethod
    def steps_per_window(self) -> int:
        """Inner steps that one `step` runs, all antithetic members counted."""

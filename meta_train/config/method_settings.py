"""Settings of a method besides its estimator: sizes, the seed, and the outer optimizer.

Importing this module imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from .ranges import SIZE, Range, check_ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """Options of `lopt-train` that are also fields of a `Method`."""

    particles: Annotated[int, Range(1, 2**20)] = 16
    """Size of the population, for each task; a particle is an antithetic pair."""
    task_particles: Annotated[tuple[int, ...], Range(1, 2**20)] = ()
    """Particles of each task of a mixture, in the order of the tasks; default: --particles for all."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of all randomness."""
    learning_rate: Annotated[float, SIZE] = 3e-3
    """Peak learning rate of the outer Adam."""
    warmup: Annotated[int, Range()] = 20
    """Meta-steps of linear warm-up."""
    final_rate: Annotated[float, Range(0, 1)] = 0.1
    """Final learning rate, as a fraction of the peak (cosine decay)."""
    gradient_clip: Annotated[float, SIZE] = 1.0
    """Bound on the norm of the averaged meta-gradient."""
    particle_clip: Annotated[float | None, SIZE] = None
    """Bound on the norm of one particle's estimate, in a mixture in units of its task's scale. It adds bias,
    because clipped estimates count for less. Default: none for a single task, 3 in a mixture."""

    def __post_init__(self) -> None:
        check_ranges(self)

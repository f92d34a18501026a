"""A task for every number: a family, its sizes and data, and what is done to it, all drawn at random.

References: Metz et al. 2020, Using a thousand optimization tasks to learn hyperparameter search strategies
    (arXiv 2002.11887).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import jax

from .augment.delayed_gradient import DelayedGradient
from .augment.finite_data import FiniteData
from .augment.low_precision import LowPrecision
from .augment.noisy_gradient import NoisyGradient
from .augment.noisy_targets import NoisyTargets
from .augment.normalised_gradient import NormalisedGradient
from .augment.random_subspace import RandomSubspace
from .augment.reparametrised import Reparametrised
from .augment.scaled_loss import ScaledLoss
from .augment.smaller_batches import SmallerBatches
from .base import Task
from .draw import Draw
from .errors import UsageError
from .sampled_functions import ON_NUMBERS, WITHOUT_ROWS
from .sampled_networks import NETWORKS

SHARE_WITH_CHANGES = 0.4
"""Share of the tasks that are changed in their parameters, loss, gradient or batch."""
SHARE_WITH_SECOND = 0.25
"""Share of the changed ones that are changed once more."""


FAMILIES: dict[str, Callable[[Draw], Task]] = {**WITHOUT_ROWS, **ON_NUMBERS, **NETWORKS}
"""What is drawn from, each with the same probability."""

_CHANGES_OF_ALL: tuple[Callable[[Draw, Task], Task], ...] = (
    lambda draw, task: Reparametrised(task, 0.1, 10.0, draw.one_of("global", "tensor", "parameter")),
    lambda draw, task: ScaledLoss(task, 0.01, 100.0),
    lambda draw, task: LowPrecision(task, draw.one_of("bfloat16", "float16")),
    lambda draw, task: NoisyGradient(task, draw.number(0.03, 1.0)),
    lambda draw, task: NormalisedGradient(task, draw.one_of("global", "tensor")),
    lambda draw, task: DelayedGradient(task, draw.whole(1, 4)),
    lambda draw, task: RandomSubspace(task, draw.whole(16, 256)),
)
_CHANGES = (
    lambda draw, task: SmallerBatches(task, draw.one_of(0.25, 0.5)),
    lambda draw, task: FiniteData(NoisyTargets(task, 0.0, 0.5), 4, 64),
    lambda draw, task: FiniteData(task, 4, 64),
    *_CHANGES_OF_ALL,
)


def sample(seed: int) -> Task:
    """Return the task of a number: the same one wherever lopt has the same families.

    Its parameters' shapes are fixed, so that a training runs one program. `build("sampled-SEED")` is the
    same, and `lopt-train --task sampled-7` and `lopt-eval --suite sampled:100` take such names.

    Args:
        seed: a whole number from 0 to 2**32 - 1.

    Raises:
        UsageError: for another seed.
    """
    return _drawn(seed, group=False)


def sample_group(seed: int) -> Task:
    """Return a family of the shape of a sampled task, whose other properties are drawn for each episode.

    These are the subset of the data, label noise, the activation, the initial scales, the number of rows, the
    widths of clusters, factors of parameters and of the loss, as far as the task has them: all that needs no
    other program.
    `build("sampled-group-SEED")` is the same.

    Args:
        seed: as for `sample`.

    Raises:
        UsageError: for another seed.
    """
    return _drawn(seed, group=True)


def _drawn(seed: int, group: bool) -> Task:
    if not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise UsageError(f"a sampled task has a whole number from 0 to 4294967295, not {seed!r}")
    draw = Draw(seed, group)
    family = draw.one_of(*FAMILIES)
    task = FAMILIES[family](draw)
    changes = _CHANGES if family not in WITHOUT_ROWS else _CHANGES_OF_ALL
    if group and family not in WITHOUT_ROWS:
        task = FiniteData(NoisyTargets(task, 0.0, 0.3), 16, 1024)
    if draw.chance(SHARE_WITH_CHANGES):
        task = draw.one_of(*changes)(draw, task)
        if draw.chance(SHARE_WITH_SECOND):
            task = draw.one_of(*changes)(draw, task)
    return task


def build_sampled(name: str) -> Task | None:
    """Return the task of the name of a sampled one, or None for another name."""
    found = re.fullmatch(r"sampled-(group-)?(\d{1,10})", name)
    return _drawn(int(found[2]), group=bool(found[1])) if found else None


def inner_step_flops(task: Task) -> float:
    """Return the floating-point operations of one gradient of a task, as XLA counts them; nothing is run."""

    def gradient(key: jax.Array) -> object:
        sample_key, init_key, batch_key, loss_key = jax.random.split(key, 4)
        instance = task.sample(sample_key)
        batch = task.batch(instance, batch_key, "train")
        return jax.grad(task.loss, argnums=1)(instance, task.init(instance, init_key), batch, loss_key)

    costs = jax.jit(gradient).lower(jax.random.key(0)).cost_analysis()
    return float((costs or {}).get("flops", math.nan))

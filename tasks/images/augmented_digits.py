"""The MLP on digits with difficulties that occur in practice, for tests of robustness."""

from __future__ import annotations

from ..augment.wrappers import NoisyGradient, Reparametrised, SmallerBatches
from ..base import Task
from ..registry import build, register


@register("rescaled-digits-mlp")
def rescaled_digits_mlp() -> Task:
    """Return `digits-mlp` with all parameters divided by the same factor, from 0.01 to 100."""
    return Reparametrised(build("digits-mlp"), 0.01, 100.0)


@register("tensor-rescaled-digits-mlp")
def tensor_rescaled_digits_mlp() -> Task:
    """Return `digits-mlp` with a factor from 0.01 to 100 for each tensor."""
    return Reparametrised(build("digits-mlp"), 0.01, 100.0, level="tensor")


@register("noisy-digits-mlp")
def noisy_digits_mlp() -> Task:
    """Return `digits-mlp` with gradient noise as large as the gradient."""
    return NoisyGradient(build("digits-mlp"), 1.0)


@register("small-batch-digits-mlp")
def small_batch_digits_mlp() -> Task:
    """Return `digits-mlp` with a tenth of each batch."""
    return SmallerBatches(build("digits-mlp"), 0.1)

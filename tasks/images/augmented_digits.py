"""The MLP on digits with difficulties that occur in practice, for tests of robustness."""

from __future__ import annotations

from ..augment.delayed_gradient import DelayedGradient
from ..augment.finite_data import FiniteData
from ..augment.low_precision import LowPrecision
from ..augment.noisy_gradient import NoisyGradient
from ..augment.noisy_targets import NoisyTargets
from ..augment.normalised_gradient import NormalisedGradient
from ..augment.random_subspace import RandomSubspace
from ..augment.reparametrised import Reparametrised
from ..augment.scaled_loss import ScaledLoss
from ..augment.smaller_batches import SmallerBatches
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


@register("parameter-rescaled-digits-mlp")
def parameter_rescaled_digits_mlp() -> Task:
    """Return `digits-mlp` with a factor from 0.1 to 10 for each parameter."""
    return Reparametrised(build("digits-mlp"), 0.1, 10.0, level="parameter")


@register("scaled-loss-digits-mlp")
def scaled_loss_digits_mlp() -> Task:
    """Return `digits-mlp` with a loss in another unit, from 0.001 to 1000."""
    return ScaledLoss(build("digits-mlp"), 1e-3, 1e3)


@register("bfloat16-digits-mlp")
def bfloat16_digits_mlp() -> Task:
    """Return `digits-mlp` with batches, parameters and gradients of eight significant bits."""
    return LowPrecision(build("digits-mlp"))


@register("normalised-gradient-digits-mlp")
def normalised_gradient_digits_mlp() -> Task:
    """Return `digits-mlp` with gradients of norm 1."""
    return NormalisedGradient(build("digits-mlp"))


@register("delayed-digits-mlp")
def delayed_digits_mlp() -> Task:
    """Return `digits-mlp` with gradients that arrive four steps late."""
    return DelayedGradient(build("digits-mlp"), 4)


@register("subspace-digits-mlp")
def subspace_digits_mlp() -> Task:
    """Return `digits-mlp` in random subspaces of 128 dimensions."""
    return RandomSubspace(build("digits-mlp"), 128)


@register("few-digits-mlp")
def few_digits_mlp() -> Task:
    """Return `digits-mlp` on 4 to 64 batches, with up to half of the labels wrong."""
    return FiniteData(NoisyTargets(build("digits-mlp"), 0.0, 0.5), 4, 64)

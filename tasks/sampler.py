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
from .data.datasets import load_dataset
from .data.text import ALPHABET, load_text
from .draw import Draw
from .errors import UsageError
from .images.autoencoder import VAE, Autoencoder
from .images.image_conv import ImageConv
from .images.image_mlp import ImageMLP
from .landscapes.quadratic import Quadratic
from .sequences.char_gru import CharGRU
from .sequences.char_mlp import CharMLP
from .sequences.char_transformer import CharTransformer
from .vectors.friedman import Friedman
from .vectors.linear_model import LinearRegression, SoftmaxRegression
from .vectors.procedural import ProceduralCurves
from .vectors.tabular import build_table_task
from .vectors.teacher import GaussianMixture, Teacher

SHARE_WITH_CHANGES = 0.4
"""Share of the tasks that are changed in their parameters, loss, gradient or batch."""
SHARE_WITH_SECOND = 0.25
"""Share of the changed ones that are changed once more."""


def _image_mlp(draw: Draw) -> Task:
    one = draw.perceptron(1, 1)
    sizes = draw.batch_sizes()
    return ImageMLP(
        load_dataset("digits"), one.widths, one.depths, one.activations, one.initial_scales, sizes
    )


def _image_conv(draw: Draw) -> Task:
    channels, scales = draw.whole(4, 12), draw.span(0.5, 2.0)
    activations = draw.some_of("relu", "gelu", "tanh")
    return ImageConv(
        load_dataset("digits"), (channels, channels), activations, scales, draw.one_of(16, 32, 64)
    )


def _reconstruction(draw: Draw) -> Task:
    make = draw.one_of(Autoencoder, VAE)
    width, latents, rows = draw.whole(16, 64), draw.whole(4, 16), draw.batch_size()
    return make(load_dataset("digits"), (width, width), (latents, latents), batch_sizes=(rows, rows))


def _transformer(draw: Draw) -> Task:
    kernels, embeddings, head = draw.span(0.7, 1.4), draw.span(0.13, 6.5), draw.span(0.1, 1.0)
    depth, heads = draw.whole(1, 2), draw.one_of(1, 2, 4)
    features, length = draw.one_of(16, 32), draw.one_of(12, 24)
    return CharTransformer(
        load_text(),
        depths=(depth, depth),
        initial_scales=kernels,
        embedding_scales=embeddings,
        head_scales=head,
        features=features,
        heads=heads,
        length=length,
        batch_size=draw.one_of(8, 16),
    )


def _gru(draw: Draw) -> Task:
    units, scales = draw.whole(12, 48), draw.span(0.7, 1.4)
    features, length = draw.whole(8, 24), draw.one_of(12, 24)
    return CharGRU(load_text(), (units, units), scales, features, length, draw.one_of(16, 32))


def _char_mlp(draw: Draw) -> Task:
    family = CharMLP(load_text())
    one = draw.perceptron(family.perceptron.inputs, len(ALPHABET))
    return family.replace(perceptron=one, batch_size=draw.batch_size())


def _teacher(draw: Draw) -> Task:
    student = draw.perceptron(draw.whole(4, 24), draw.whole(1, 6))
    return Teacher(student, draw.whole(4, 24), draw.number(1, 100), draw.number(0.01, 0.5), draw.batch_size())


def _mixture(draw: Draw) -> Task:
    one = draw.perceptron(draw.whole(2, 24), draw.whole(2, 8))
    low, high = draw.span(0.2, 0.6)
    return GaussianMixture(one, draw.whole(1, 4), (low, 2 * high), draw.batch_size())


def _curves(draw: Draw) -> Task:
    one = draw.perceptron(40, 10)
    shift, tilt, noise = draw.number(0.1, 1.0), draw.number(0.1, 1.0), draw.number(0.05, 0.5)
    return ProceduralCurves(one, draw.one_of(False, True), shift, tilt, noise, draw.batch_size())


def _table(draw: Draw) -> Task:
    name, one = draw.one_of("breast_cancer", "wine", "diabetes"), draw.perceptron(1, 1)
    sizes = {"widths": one.widths, "depths": one.depths, "activations": one.activations}
    return build_table_task(name, **sizes, initial_scales=one.initial_scales)


def _linear(draw: Draw) -> Task:
    starts, rows = draw.one_of((0.0, 0.0), draw.span(0.003, 1.0)), draw.batch_size()
    shared = {"inputs": draw.whole(4, 64), "condition": draw.number(1, 100), "batch_size": rows}
    noise = draw.number(0.03, 0.5)
    make = draw.one_of(LinearRegression, SoftmaxRegression)
    outputs = draw.whole(1, 4) + (make is SoftmaxRegression)
    return make(**shared, outputs=outputs, starts=starts, noise=noise)


FAMILIES: dict[str, Callable[[Draw], Task]] = {
    "quadratic": lambda draw: Quadratic(
        draw.whole(3, 50), draw.number(3, 1000), draw.one_of(0.0, draw.number(0.03, 1.0))
    ),
    "linear": _linear,
    "teacher": _teacher,
    "mixture": _mixture,
    "curves": _curves,
    "table": _table,
    "friedman": lambda draw: Friedman(
        draw.perceptron(10, 1), noise=draw.number(0.03, 0.5), batch_size=draw.batch_size()
    ),
    "images-mlp": _image_mlp,
    "images-conv": _image_conv,
    "reconstruction": _reconstruction,
    "characters-mlp": _char_mlp,
    "characters-gru": _gru,
    "characters-transformer": _transformer,
}
"""What is drawn from, each with the same probability."""

_CHANGES: tuple[Callable[[Draw, Task], Task], ...] = (
    lambda draw, task: SmallerBatches(task, draw.one_of(0.25, 0.5)),
    lambda draw, task: FiniteData(NoisyTargets(task, 0.0, 0.5), 4, 64),
    lambda draw, task: FiniteData(task, 4, 64),
    lambda draw, task: Reparametrised(task, 0.1, 10.0, draw.one_of("global", "tensor", "parameter")),
    lambda draw, task: ScaledLoss(task, 0.01, 100.0),
    lambda draw, task: LowPrecision(task, draw.one_of("bfloat16", "float16")),
    lambda draw, task: NoisyGradient(task, draw.number(0.03, 1.0)),
    lambda draw, task: NormalisedGradient(task, draw.one_of("global", "tensor")),
    lambda draw, task: DelayedGradient(task, draw.whole(1, 4)),
    lambda draw, task: RandomSubspace(task, draw.whole(16, 256)),
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
    task = FAMILIES[draw.one_of(*FAMILIES)](draw)
    # Quadratics have no rows to leave out.
    changes = _CHANGES[3:] if isinstance(task, Quadratic) else _CHANGES
    if group and not isinstance(task, Quadratic):
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

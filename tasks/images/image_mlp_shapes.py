"""Perceptrons of other shapes and starts than those in the families, for tests of generalisation."""

from __future__ import annotations

from ..base import Task
from ..data.datasets import load_dataset
from ..registry import register
from .image_mlp import ImageMLP


@register("wide-digits-mlp")
def wide_digits_mlp() -> Task:
    """Return one hidden layer of 256 units on digits: five times the widest member of the digits family."""
    return ImageMLP(load_dataset("digits"), widths=(256, 256))


@register("deep-digits-mlp")
def deep_digits_mlp() -> Task:
    """Return six hidden layers of 32 units on digits: three times the deepest member of the digits family."""
    return ImageMLP(load_dataset("digits"), depths=(6, 6))


@register("large-digits-mlp")
def large_digits_mlp() -> Task:
    """Return three hidden layers of 256 units on digits: more than 100,000 parameters."""
    return ImageMLP(load_dataset("digits"), widths=(256, 256), depths=(3, 3))


@register("large-digits-gelu-mlp")
def large_digits_gelu_mlp() -> Task:
    """Return two hidden layers of 512 units with GELU on digits: twice as many parameters."""
    return ImageMLP(load_dataset("digits"), widths=(512, 512), depths=(2, 2), activations=("gelu",))


@register("small-start-digits-mlp")
def small_start_digits_mlp() -> Task:
    """Return two hidden layers on digits, whose kernels start at a tenth of the usual size."""
    return ImageMLP(load_dataset("digits"), depths=(2, 2), initial_scales=(0.1, 0.1))

"""Wider and deeper perceptrons than those in the families, for tests of generalisation."""

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

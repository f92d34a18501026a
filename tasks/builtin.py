"""Registers all tasks that come with lopt; import the registry from here."""

from . import (  # noqa: F401  (each registers its tasks)
    augmented_digits,
    autoencoder,
    char_gru,
    char_mlp,
    char_transformer,
    friedman,
    image_conv,
    image_mlp_shapes,
    linear_model,
    procedural,
    tabular,
    teacher,
    tunable_mlp,
)
from .registry import TASKS, build, names, register

__all__ = ["TASKS", "build", "names", "register"]

"""All tasks that come with lopt, registered; whoever looks at the registry takes it from here."""

from . import (  # noqa: F401  (each registers what it has)
    augmented_digits,
    autoencoder,
    char_gru,
    char_mlp,
    char_transformer,
    friedman,
    image_conv,
    image_mlp_shapes,
    procedural,
    tabular,
    teacher,
    tunable_mlp,
)
from .registry import TASKS, build, register

__all__ = ["TASKS", "build", "register"]

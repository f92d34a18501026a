"""Registers all tasks that come with lopt; import the registry from here."""

from .dynamical import learned_rule, physics_informed, policy_gradient  # noqa: F401
from .graphs import graph_convolution  # noqa: F401
from .images import (  # noqa: F401
    augmented_digits,
    autoencoder,
    image_conv,
    image_mixer,
    image_mlp,
    image_mlp_shapes,
    image_resnet,
    image_vit,
    made,
    metric,
    prepared_images,
    tunable_mlp,
)
from .landscapes import landscape, quadratic, rotating_quadratic  # noqa: F401
from .matrices import completion, low_rank, sparse_recovery  # noqa: F401
from .registry import TASKS, build, names, one_of_each_kind, register
from .sequences import (  # noqa: F401
    algorithmic_gru,
    char_gru,
    char_lora,
    char_lstm,
    char_mlp,
    char_transformer,
    char_transformer_starts,
    prepared_texts,
    series_mlp,
    small_texts,
)
from .vectors import flow, friedman, linear_model, procedural, tabular, teacher  # noqa: F401

__all__ = ["TASKS", "build", "names", "one_of_each_kind", "register"]

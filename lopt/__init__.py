"""Learned optimizers: update rules that carry their own meta-parameters, ready for optax.

This is the part that an end user imports. It needs jax, flax, optax and safetensors, and nothing of the
packages above it.
"""

from . import strict_json
from .adafactor_mlp import AdafactorMLP
from .as_optax import as_optax
from .base import LearnedOptimizer, checked_horizon, next_count, static_fields, theta_size
from .hand_designed import LearnableAdam, LearnableSGD
from .layout import Layout, layouts
from .lstm import CoordinatewiseLSTM
from .muon_star import MuonSTAR
from .per_tensor import Grouped, Tensors
from .placement import zeros_like
from .plain_text import plain
from .publish import PublishedOptimizerError, load, published, read_config, save
from .registry import ARCHITECTURES, architecture, architecture_name, create, look_up, register
from .star import STAR

__all__ = [
    "ARCHITECTURES",
    "STAR",
    "AdafactorMLP",
    "CoordinatewiseLSTM",
    "Grouped",
    "Layout",
    "LearnableAdam",
    "LearnableSGD",
    "LearnedOptimizer",
    "MuonSTAR",
    "PublishedOptimizerError",
    "Tensors",
    "architecture",
    "architecture_name",
    "as_optax",
    "checked_horizon",
    "create",
    "layouts",
    "load",
    "look_up",
    "next_count",
    "plain",
    "published",
    "read_config",
    "register",
    "save",
    "static_fields",
    "strict_json",
    "theta_size",
    "zeros_like",
]

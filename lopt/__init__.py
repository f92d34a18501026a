"""Learned optimizers: update rules that carry their own meta-parameters, for use with optax.

This is the package that an end user imports. It needs jax, flax, optax and safetensors, and imports none of
the packages above it.
"""

from typing import TYPE_CHECKING

from .lazy import lazily

if TYPE_CHECKING:
    from . import strict_json
    from .adafactor_mlp import AdafactorMLP
    from .architectures import ARCHITECTURES, architecture, architecture_name, create, register
    from .base import LearnedOptimizer, checked_horizon, next_count, static_fields, theta_size
    from .celo import Celo
    from .celo2 import Celo2
    from .celo2_base import Celo2Base
    from .celo_adam import CeloAdam
    from .errors import UsageError
    from .freezing import trainable
    from .hand_designed import LearnableAdam, LearnableSGD
    from .hierarchical_rnn import HierarchicalRNN
    from .hub import is_hub_name
    from .hub_push import push
    from .layout import Layout, layouts
    from .learnable_nadamw import LearnableNAdamW
    from .lstm import CoordinatewiseLSTM
    from .mlp_optimizer import MLPOptimizer
    from .muon_star import MuonSTAR
    from .names import check_class, check_free, check_name, look_up
    from .optax_rule import OptaxRule
    from .optimus import Optimus
    from .paced import Paced
    from .paced_muon import PacedMuon
    from .paced_nadam import PacedNAdam
    from .per_tensor import Tensors
    from .placement import zeros_like
    from .plain_text import plain
    from .publish import PublishedOptimizerError, load, locate, published, read_config, save
    from .rate_grid import ADAM_RATES, log_grid, lowest
    from .star import STAR
    from .tensor_lstm import TensorLSTM
    from .transformation import as_optax
    from .velo import VeLO
else:
    __getattr__, __dir__ = lazily(__name__)

__all__ = [
    "ADAM_RATES",
    "ARCHITECTURES",
    "STAR",
    "AdafactorMLP",
    "Celo",
    "Celo2",
    "Celo2Base",
    "CeloAdam",
    "CoordinatewiseLSTM",
    "HierarchicalRNN",
    "Layout",
    "LearnableAdam",
    "LearnableNAdamW",
    "LearnableSGD",
    "LearnedOptimizer",
    "MLPOptimizer",
    "MuonSTAR",
    "OptaxRule",
    "Optimus",
    "Paced",
    "PacedMuon",
    "PacedNAdam",
    "PublishedOptimizerError",
    "TensorLSTM",
    "Tensors",
    "UsageError",
    "VeLO",
    "architecture",
    "architecture_name",
    "as_optax",
    "check_class",
    "check_free",
    "check_name",
    "checked_horizon",
    "create",
    "is_hub_name",
    "layouts",
    "lazily",
    "load",
    "locate",
    "log_grid",
    "look_up",
    "lowest",
    "next_count",
    "plain",
    "published",
    "push",
    "read_config",
    "register",
    "save",
    "static_fields",
    "strict_json",
    "theta_size",
    "trainable",
    "zeros_like",
]

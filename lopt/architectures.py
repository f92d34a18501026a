"""Registers all architectures that come with lopt; import the registry from here."""

from . import (  # noqa: F401  (each registers its rules)
    adafactor_mlp,
    celo,
    celo2,
    celo2_base,
    celo_adam,
    hand_designed,
    hierarchical_rnn,
    learnable_nadamw,
    lstm,
    mlp_optimizer,
    muon_star,
    optimus,
    paced_muon,
    paced_nadam,
    star,
    tensor_lstm,
    velo,
)
from .registry import ARCHITECTURES, architecture, architecture_name, create, register

__all__ = ["ARCHITECTURES", "architecture", "architecture_name", "create", "register"]

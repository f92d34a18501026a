"""All architectures that come with lopt, registered; whoever looks at the registry takes it from here."""

from . import (  # noqa: F401  (each registers what it has)
    adafactor_mlp,
    celo,
    celo_adam,
    hand_designed,
    lstm,
    muon_star,
    star,
    tensor_lstm,
    velo,
)
from .registry import ARCHITECTURES, architecture, architecture_name, create, register

__all__ = ["ARCHITECTURES", "architecture", "architecture_name", "create", "register"]

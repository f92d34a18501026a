"""All architectures that come with lopt, registered; whoever looks at the registry takes it from here."""

from . import adafactor_mlp, hand_designed, lstm, muon_star, star  # noqa: F401  (each registers what it has)
from .registry import ARCHITECTURES, architecture, architecture_name, create, register

__all__ = ["ARCHITECTURES", "architecture", "architecture_name", "create", "register"]

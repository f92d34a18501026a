"""Registers all architectures that come with lopt; import the registry from here."""

from . import adafactor_mlp, hand_designed, lstm, muon_star, star  # noqa: F401  (each registers its rules)
from .registry import ARCHITECTURES, architecture, architecture_name, create, register

__all__ = ["ARCHITECTURES", "architecture", "architecture_name", "create", "register"]

"""All problems that come with lopt, registered; whoever looks at the registry takes it from here.

Importing this module imports nothing heavy, so that `--help` is quick.
"""

from . import hyperparameters, learned_optimizer, system  # noqa: F401  (each registers what it has)
from .base import PROBLEMS

__all__ = ["PROBLEMS"]

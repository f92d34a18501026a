"""Trackers and displays of a run's metrics."""

from .base import NoTracker, Several, Tracker
from .json_lines import JsonLines, read_json_lines
from .progress import ProgressBar
from .values import Curves, Histogram, Value, Values
from .wandb import WandB
from .wandb_start import WandBOptions

__all__ = [
    "Curves",
    "Histogram",
    "JsonLines",
    "NoTracker",
    "ProgressBar",
    "Several",
    "Tracker",
    "Value",
    "Values",
    "WandB",
    "WandBOptions",
    "read_json_lines",
]

"""Inner problems and their data. Knows nothing of learned optimizers."""

from .base import Task, initial_loss
from .datasets import SPLITS, Dataset, DatasetNotPreparedError, Split, load_dataset
from .image_mlp import ImageMLP
from .quadratic import Quadratic
from .registry import TASKS, build, register

__all__ = [
    "SPLITS",
    "TASKS",
    "Dataset",
    "DatasetNotPreparedError",
    "ImageMLP",
    "Quadratic",
    "Split",
    "Task",
    "build",
    "initial_loss",
    "load_dataset",
    "register",
]

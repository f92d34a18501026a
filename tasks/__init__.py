"""Inner problems and their data. Knows nothing of learned optimizers."""

from .augment import NoisyGradient, Reparametrised, SmallerBatches
from .autoencoder import VAE, Autoencoder
from .base import Task, initial_loss
from .char_gru import CharGRU
from .char_transformer import CharTransformer
from .datasets import SPLITS, Dataset, DatasetNotPreparedError, Split, load_dataset
from .image_conv import ImageConv, ImageResNet
from .image_mlp import ImageMLP
from .image_mlp_shapes import deep_digits_mlp, wide_digits_mlp
from .perceptron import Perceptron
from .procedural import Curves
from .quadratic import Quadratic
from .registry import TASKS, build, register
from .tabular import Table, TabularMLP, load_table
from .teacher import GaussianMixture, Teacher
from .text import Text, load_text

__all__ = [
    "SPLITS",
    "TASKS",
    "VAE",
    "Autoencoder",
    "CharGRU",
    "CharTransformer",
    "Curves",
    "Dataset",
    "DatasetNotPreparedError",
    "GaussianMixture",
    "ImageConv",
    "ImageMLP",
    "ImageResNet",
    "NoisyGradient",
    "Perceptron",
    "Quadratic",
    "Reparametrised",
    "SmallerBatches",
    "Split",
    "Table",
    "TabularMLP",
    "Task",
    "Teacher",
    "Text",
    "build",
    "deep_digits_mlp",
    "initial_loss",
    "load_dataset",
    "load_table",
    "load_text",
    "register",
    "wide_digits_mlp",
]

"""Inner problems and their data; independent of learned optimizers."""

from typing import TYPE_CHECKING

from .lazy import lazily

if TYPE_CHECKING:
    from .augment import NoisyGradient, Reparametrised, SmallerBatches
    from .autoencoder import VAE, Autoencoder
    from .base import Batch, Task
    from .builtin import TASKS, build, names, register
    from .char_gru import CharGRU
    from .char_mlp import CharMLP
    from .char_transformer import CharTransformer
    from .classifier import Classifier
    from .datasets import Dataset, load_dataset
    from .errors import UsageError
    from .friedman import Friedman
    from .hyperparameters import Bounded, Choice, Constraint, Hyperparameter, Integer, Positive, Real, Share
    from .image_arrays import make_dataset
    from .image_conv import ImageConv, ImageResNet
    from .image_mlp import ImageMLP
    from .linear_model import LinearRegression, SoftmaxRegression
    from .perceptron import Perceptron
    from .prepared import SPLITS, DatasetNotPreparedError, Split
    from .procedural import ProceduralCurves
    from .quadratic import Quadratic
    from .sampler import inner_step_flops, sample
    from .tabular import Table, TabularMLP, load_table, make_table, table_task
    from .teacher import GaussianMixture, Teacher
    from .text import Text, load_text, make_text
    from .tunable_mlp import TunableMLP
else:
    __getattr__, __dir__ = lazily(__name__)

__all__ = [
    "SPLITS",
    "TASKS",
    "VAE",
    "Autoencoder",
    "Batch",
    "Bounded",
    "CharGRU",
    "CharMLP",
    "CharTransformer",
    "Choice",
    "Classifier",
    "Constraint",
    "Dataset",
    "DatasetNotPreparedError",
    "Friedman",
    "GaussianMixture",
    "Hyperparameter",
    "ImageConv",
    "ImageMLP",
    "ImageResNet",
    "Integer",
    "LinearRegression",
    "NoisyGradient",
    "Perceptron",
    "Positive",
    "ProceduralCurves",
    "Quadratic",
    "Real",
    "Reparametrised",
    "Share",
    "SmallerBatches",
    "SoftmaxRegression",
    "Split",
    "Table",
    "TabularMLP",
    "Task",
    "Teacher",
    "Text",
    "TunableMLP",
    "UsageError",
    "build",
    "inner_step_flops",
    "load_dataset",
    "load_table",
    "load_text",
    "make_dataset",
    "make_table",
    "make_text",
    "names",
    "register",
    "sample",
    "table_task",
]

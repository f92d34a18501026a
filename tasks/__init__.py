"""Inner problems and their data; independent of learned optimizers."""

from typing import TYPE_CHECKING

from .lazy import lazily

if TYPE_CHECKING:
    from .augment import NoisyGradient, Reparametrised, SmallerBatches
    from .augmented_digits import (
        noisy_digits_mlp,
        rescaled_digits_mlp,
        small_batch_digits_mlp,
        tensor_rescaled_digits_mlp,
    )
    from .autoencoder import VAE, Autoencoder
    from .base import Batch, Task, initial_loss
    from .builtin import TASKS, build, register
    from .char_gru import CharGRU
    from .char_mlp import CharMLP
    from .char_transformer import CharTransformer
    from .classifier import Classifier
    from .datasets import Dataset, load_dataset
    from .errors import UsageError
    from .friedman import Friedman
    from .hyperparameters import Bounded, Choice, Constraint, Hyperparameter, Integer, Positive, Real, Share
    from .image_conv import ImageConv, ImageResNet
    from .image_mlp import ImageMLP
    from .image_mlp_shapes import deep_digits_mlp, wide_digits_mlp
    from .perceptron import Perceptron
    from .prepared import SPLITS, DatasetNotPreparedError, Split
    from .procedural import ProceduralCurves
    from .quadratic import Quadratic
    from .tabular import Table, TabularMLP, load_table
    from .teacher import GaussianMixture, Teacher
    from .text import Text, load_text
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
    "NoisyGradient",
    "Perceptron",
    "Positive",
    "ProceduralCurves",
    "Quadratic",
    "Real",
    "Reparametrised",
    "Share",
    "SmallerBatches",
    "Split",
    "Table",
    "TabularMLP",
    "Task",
    "Teacher",
    "Text",
    "TunableMLP",
    "UsageError",
    "build",
    "deep_digits_mlp",
    "initial_loss",
    "load_dataset",
    "load_table",
    "load_text",
    "noisy_digits_mlp",
    "register",
    "rescaled_digits_mlp",
    "small_batch_digits_mlp",
    "tensor_rescaled_digits_mlp",
    "wide_digits_mlp",
]

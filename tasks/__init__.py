"""Inner problems and their data; independent of learned optimizers."""

from typing import TYPE_CHECKING

from .lazy import lazily

if TYPE_CHECKING:
    from .augment.delayed_gradient import DelayedGradient
    from .augment.finite_data import FiniteData
    from .augment.low_precision import LowPrecision
    from .augment.noisy_gradient import NoisyGradient
    from .augment.noisy_targets import NoisyTargets
    from .augment.normalised_gradient import NormalisedGradient
    from .augment.random_subspace import RandomSubspace
    from .augment.reparametrised import Reparametrised
    from .augment.scaled_loss import ScaledLoss
    from .augment.smaller_batches import SmallerBatches
    from .base import Batch, Task
    from .builtin import TASKS, build, names, one_of_each_kind, register
    from .classifier import Classifier
    from .data.corpora import load_corpus
    from .data.datasets import load_dataset
    from .data.image_arrays import make_dataset
    from .data.image_data import Dataset
    from .data.pool import Pool, Source, Stream
    from .data.prepared import SPLITS, DatasetNotPreparedError, Split
    from .data.sources import Columns, RowSource, TextSource, divide_records
    from .data.streams import stream_dataset, stream_text, tfds_records
    from .data.text import Text, load_text, make_text
    from .dynamical.learned_rule import LearnedRule
    from .dynamical.physics_informed import PhysicsInformed
    from .dynamical.policy_gradient import PolicyGradient
    from .errors import UsageError
    from .graphs.graph_convolution import GraphConvolution
    from .hyperparameters import Bounded, Choice, Constraint, Hyperparameter, Integer, Positive, Real, Share
    from .images.autoencoder import VAE, Autoencoder
    from .images.image_conv import ImageConv
    from .images.image_mixer import ImageMixer
    from .images.image_mlp import ImageMLP
    from .images.image_resnet import ImageResNet
    from .images.image_vit import ImageViT
    from .images.made import MADE
    from .images.metric import ContrastiveEmbedding, TripletEmbedding
    from .images.tunable_mlp import TunableMLP
    from .landscapes.landscape import Landscape
    from .landscapes.quadratic import Quadratic
    from .landscapes.rotating_quadratic import RotatingQuadratic
    from .matrices.completion import MatrixCompletion
    from .matrices.low_rank import LowRank
    from .matrices.sparse_recovery import SparseRecovery
    from .perceptron import Perceptron
    from .sampler import inner_step_flops, sample, sample_group
    from .sequences.algorithmic_gru import AlgorithmicGRU
    from .sequences.char_gru import CharGRU
    from .sequences.char_lora import CharLoRA
    from .sequences.char_lstm import CharLSTM
    from .sequences.char_mlp import CharMLP
    from .sequences.char_transformer import CharTransformer
    from .sequences.series_mlp import SeriesMLP
    from .task_group import TaskGroup, group
    from .vectors.flow import RealNVP
    from .vectors.friedman import Friedman
    from .vectors.linear_model import LinearRegression, SoftmaxRegression
    from .vectors.procedural import ProceduralCurves
    from .vectors.tabular import Table, TabularMLP, load_table, make_table, table_task
    from .vectors.teacher import GaussianMixture, Teacher
else:
    __getattr__, __dir__ = lazily(__name__)

__all__ = [
    "MADE",
    "SPLITS",
    "TASKS",
    "VAE",
    "AlgorithmicGRU",
    "Autoencoder",
    "Batch",
    "Bounded",
    "CharGRU",
    "CharLSTM",
    "CharLoRA",
    "CharMLP",
    "CharTransformer",
    "Choice",
    "Classifier",
    "Columns",
    "Constraint",
    "ContrastiveEmbedding",
    "Dataset",
    "DatasetNotPreparedError",
    "DelayedGradient",
    "FiniteData",
    "Friedman",
    "GaussianMixture",
    "GraphConvolution",
    "Hyperparameter",
    "ImageConv",
    "ImageMLP",
    "ImageMixer",
    "ImageResNet",
    "ImageViT",
    "Integer",
    "Landscape",
    "LearnedRule",
    "LinearRegression",
    "LowPrecision",
    "LowRank",
    "MatrixCompletion",
    "NoisyGradient",
    "NoisyTargets",
    "NormalisedGradient",
    "Perceptron",
    "PhysicsInformed",
    "PolicyGradient",
    "Pool",
    "Positive",
    "ProceduralCurves",
    "Quadratic",
    "RandomSubspace",
    "Real",
    "RealNVP",
    "Reparametrised",
    "RotatingQuadratic",
    "RowSource",
    "ScaledLoss",
    "SeriesMLP",
    "Share",
    "SmallerBatches",
    "SoftmaxRegression",
    "Source",
    "SparseRecovery",
    "Split",
    "Stream",
    "Table",
    "TabularMLP",
    "Task",
    "TaskGroup",
    "Teacher",
    "Text",
    "TextSource",
    "TripletEmbedding",
    "TunableMLP",
    "UsageError",
    "build",
    "divide_records",
    "group",
    "inner_step_flops",
    "load_corpus",
    "load_dataset",
    "load_table",
    "load_text",
    "make_dataset",
    "make_table",
    "make_text",
    "names",
    "one_of_each_kind",
    "register",
    "sample",
    "sample_group",
    "stream_dataset",
    "stream_text",
    "table_task",
    "tfds_records",
]

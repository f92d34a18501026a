"""Perceptrons on the tables that come with scikit-learn: one regression, two classifications."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Batch, Task
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import Layers, equal_weights, share_right
from ..perceptron import Perceptron, PerceptronInstance
from ..registry import register

TableName = Literal["diabetes", "wine", "breast_cancer"]

_SEED = 0
_FEWEST = 40


class Table(struct.PyTreeNode):
    """A table on the device, standardised by its train split.

    Attributes:
        inputs: split -> float32 [n, columns].
        targets: split -> int32 [n], classes; or float32 [n], standardised.
        num_classes: number of classes; 0 for regression.
    """

    inputs: dict[str, jax.Array]
    targets: dict[str, jax.Array]
    num_classes: int = struct.field(pytree_node=False)

    @property
    def columns(self) -> int:
        """The number of inputs."""
        return self.inputs["train"].shape[1]

    def batch(self, key: Key[Array, ""], split: Split, batch_size: int) -> Batch:
        """Draw rows of `split` uniformly, with replacement."""
        rows = jax.random.randint(key, (batch_size,), 0, self.inputs[split].shape[0])
        inputs = self.inputs[split].at[rows].get(mode="promise_in_bounds")
        targets = self.targets[split].at[rows].get(mode="promise_in_bounds")
        return Batch(inputs, targets, equal_weights(batch_size))


class TabularMLP(Task):
    """Predict a class (the loss is cross-entropy) or a number (squared error) from the columns of a table."""

    table: Table
    perceptron: Perceptron = struct.field(pytree_node=False)
    batch_size: int = struct.field(pytree_node=False, default=32)

    def sample(self, key: Key[Array, ""]) -> PerceptronInstance:
        """Draw a perceptron."""
        return self.perceptron.sample(key)

    def init(self, instance: PerceptronInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        return self.perceptron.init(instance, key)

    def batch(self, instance: PerceptronInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw rows with replacement."""
        return self.table.batch(key, split, self.batch_size)

    def loss(
        self, instance: PerceptronInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross-entropy in nats, or the squared error of a standardised target."""
        outputs = self.perceptron.apply(instance, params, batch.inputs)
        if self.table.num_classes:
            return batch.weights @ optax.softmax_cross_entropy_with_integer_labels(outputs, batch.targets)
        return batch.weights @ jnp.square(outputs[:, 0] - batch.targets)

    def accuracy(
        self, instance: PerceptronInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""] | None:
        """Return the share of rows that are classified correctly; None for regression."""
        if not self.table.num_classes:
            return None
        outputs = self.perceptron.apply(instance, params, batch.inputs)
        return share_right(outputs, batch.targets, batch.weights)

    @property
    def ceiling(self) -> float:
        """Ten times the loss of guessing, because initial logits are large for tables with outliers."""
        return 10 * (math.log(self.table.num_classes) if self.table.num_classes else 1.0)


@functools.cache
def load_table(name: TableName) -> Table:
    """Read one of scikit-learn's tables, as `make_table` does; later calls return the same object."""
    from sklearn import datasets  # takes a second to import

    loaders: dict[TableName, Any] = {
        "diabetes": datasets.load_diabetes,
        "wine": datasets.load_wine,
        "breast_cancer": datasets.load_breast_cancer,
    }
    inputs, targets = loaders[name](return_X_y=True)
    return make_table(inputs, targets.astype(np.float32 if name == "diabetes" else np.int32))


def make_table(inputs: np.ndarray, targets: np.ndarray) -> Table:
    """Split a table, standardise it by its train split, and put it on the device.

    The rows are permuted with a fixed seed and split: 70 % train, 10 % for each of the other splits.

    Args:
        inputs: numbers, [rows, columns].
        targets: [rows]: classes 0, 1, ... if they are integers, otherwise numbers to predict.

    Raises:
        UsageError: for shapes that don't fit, numbers that are not finite, or fewer than 40 rows.
    """
    inputs, targets = np.asarray(inputs, np.float64), np.asarray(targets)
    _check(inputs, targets)
    num_classes = int(targets.max()) + 1 if np.issubdtype(targets.dtype, np.integer) else 0
    # RandomState, because numpy guarantees its stream permanently; that of default_rng may change.
    order = np.random.RandomState(_SEED).permutation(len(targets))
    parts = np.split(order, [len(order) * tenths // 10 for tenths in (7, 8, 9)])
    train = parts[0]
    spread = inputs[train].std(0)
    inputs = (inputs - inputs[train].mean(0)) / np.where(spread > 0, spread, 1)
    if not num_classes:
        targets = (targets - targets[train].mean()) / targets[train].std()
    targets = targets.astype(np.int32 if num_classes else np.float32)
    rows = dict(zip(SPLITS, parts, strict=True))
    # Otherwise a first call inside a traced function would cache that trace's values.
    with jax.ensure_compile_time_eval():
        return Table(
            inputs={split: jnp.asarray(inputs[rows[split]], jnp.float32) for split in SPLITS},
            targets={split: jnp.asarray(targets[rows[split]]) for split in SPLITS},
            num_classes=num_classes,
        )


def _check(inputs: np.ndarray, targets: np.ndarray) -> None:
    """Check the arrays of a table.

    Raises:
        UsageError: as in `make_table`.
    """
    if inputs.ndim != 2 or targets.shape != inputs.shape[:1]:
        shapes = f"{list(inputs.shape)} and {list(targets.shape)}"
        raise UsageError(f"a table has inputs [rows, columns] and targets [rows], and these are {shapes}")
    if not (np.isfinite(inputs).all() and np.isfinite(targets).all()):
        raise UsageError("a table has finite numbers: fill in what is missing, or leave those rows out")
    if len(targets) < _FEWEST:
        raise UsageError(f"{len(targets)} rows are too few for four splits: take at least {_FEWEST}")
    if np.issubdtype(targets.dtype, np.integer) and targets.min() < 0:
        raise UsageError(f"integer targets are classes from 0 on, and one is {targets.min()}")


def build_table_task(name: TableName, **options: Any) -> TabularMLP:
    """Build the task of a table, with a perceptron for its numbers of columns and outputs.

    Args:
        name: the table's name.
        **options: further fields of `Perceptron`.
    """
    return table_task(load_table(name), **options)


def table_task(table: Table, **options: Any) -> TabularMLP:
    """Build the task of predicting a table's targets with a perceptron of fitting inputs and outputs.

    Args:
        table: the table.
        **options: further fields of `Perceptron`.
    """
    return TabularMLP(table, Perceptron(table.columns, table.num_classes or 1, **options))


def _register(name: TableName) -> None:
    @register(f"{name.replace('_', '-')}-mlp")
    def one() -> Task:
        return build_table_task(name)


for _name in ("diabetes", "wine", "breast_cancer"):
    _register(_name)

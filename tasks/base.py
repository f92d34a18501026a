"""The interface of this package: an inner problem, or a family of them."""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import struct
from jaxtyping import Array, Float, Key, PyTree, Shaped

from .data.prepared import Split
from .hyperparameters import Hyperparameter

Instance = Any
Params = PyTree[Array]
AnyBatch = Any
"""A `Batch`, or any other pytree that `Task.batch` returns and `Task.loss` takes."""


class Batch(NamedTuple):
    """Weighted rows: the batch of every task in this package that has data."""

    inputs: Shaped[Array, " rows *shape"]
    targets: Shaped[Array, " rows *shape"]
    """The values to predict from the inputs: labels, numbers, or next symbols."""
    weights: Float[Array, " rows"]
    """Weight of each row in the mean; they sum to 1. In a smaller batch the last ones are zero."""


_IN_FLOAT32 = ("sample", "init", "batch", "loss", "accuracy", "tuned")
"""Methods of a task that compute."""


class Task(struct.PyTreeNode, abc.ABC):
    """An inner problem, on which a learned optimizer is trained.

    A task is an immutable flax dataclass: its array leaves are data on the device (such as a data set), its
    static fields are its configuration. A *family* is a task whose `sample` is not constant. All methods are
    pure; callers jit them, vmap them over instances, and differentiate them. They compute in float32, also
    where `jax_enable_x64` is set: the drawn numbers, and so the results, are then the same.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the class a static field: jax 0.10 treats structures as equal if they differ only in class.

        It distinguishes them by a few bits of their hashes. One time in a hundred, a jitted function that is
        given two tasks would run the first one's program on both.
        """
        cls.__annotations__ = inspect.get_annotations(cls) | {"_class": type}
        cls._class = struct.field(pytree_node=False, default=cls, kw_only=True, repr=False)
        for name in _IN_FLOAT32:
            if inspect.isfunction(method := cls.__dict__.get(name)):
                setattr(cls, name, _in_float32(method))
        super().__init_subclass__(**kwargs)

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""]) -> Instance:
        """Draw one member of the family: a pytree of arrays, or () if there is nothing to draw."""

    @abc.abstractmethod
    def init(self, instance: Instance, key: Key[Array, ""]) -> Params:
        """Draw initial parameters: a tree of float32 arrays whose shapes don't depend on the instance."""

    @abc.abstractmethod
    def batch(self, instance: Instance, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw a batch from a split.

        Arrays that do not depend on `instance` should not be computed from it: antithetic pairs share a key,
        and can then share the batch's memory, too.
        """

    @abc.abstractmethod
    def loss(
        self, instance: Instance, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the loss of a batch, a float32 scalar, differentiable in `params`.

        Args:
            instance: the result of `sample`.
            params: parameters with the structure of `init`'s result.
            batch: the result of `batch`.
            key: PRNG key for random losses (dropout, a variational bound).
        """

    def accuracy(
        self, instance: Instance, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""] | None:
        """Return the share of a batch that is classified correctly; None for tasks that don't classify.

        Args:
            instance: the result of `sample`.
            params: parameters with the structure of `init`'s result.
            batch: the result of `batch`.
            key: PRNG key for random predictions.
        """
        return None

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """What of the model, the loss or the data may be tuned, by name; nothing by default."""
        return {}

    def tuned(self, instance: Instance, values: Mapping[str, Float[Array, ""]]) -> Instance:
        """Return the member that has given hyperparameters.

        Args:
            instance: what `sample` drew.
            values: some of `hyperparameters`, by name, float32; the others stay what they are. Whole numbers
                come as floats.
        """
        return instance

    @property
    def gradient_delay(self) -> int:
        """Inner steps until a gradient arrives; `meta_train.InnerTraining` keeps those on their way."""
        return 0

    @property
    @abc.abstractmethod
    def ceiling(self) -> float:
        """The loss at which an inner run counts as diverged; meta-losses are clipped to it."""


def _in_float32(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method compute in 32 bits, whatever jax's default is."""

    @functools.wraps(method)
    def computed(*args: Any, **kwargs: Any) -> Any:
        if not jax.config.read("jax_enable_x64"):
            return method(*args, **kwargs)
        with jax.enable_x64(False):
            return method(*args, **kwargs)

    return computed


def initial_loss(task: Task, key: Key[Array, ""], split: Split = "train") -> Float[Array, ""]:
    """Return the loss of one batch for one initialisation of one instance."""
    sample_key, init_key, batch_key, loss_key = jax.random.split(key, 4)
    instance = task.sample(sample_key)
    batch = task.batch(instance, batch_key, split)
    return task.loss(instance, task.init(instance, init_key), batch, loss_key)

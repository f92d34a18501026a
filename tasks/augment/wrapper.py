"""The base of all wrappers: a task that is another one, but for what a wrapper changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Float, Key

from ..base import AnyBatch, Instance, Params, Task
from ..data.prepared import Split
from ..hyperparameters import Hyperparameter


class Wrapped(NamedTuple):
    """The instance of a wrapper."""

    task: Instance
    """A member of the wrapped task."""
    own: Any
    """What the wrapper drew for it; () for wrappers that draw nothing."""


class Wrapper(Task):
    """Delegate all to a task.

    Wrappers nest, the outermost acts last on a gradient and first on parameters:
    `NoisyGradient(Reparametrised(task))` adds noise to the gradient of the reparametrised task. A wrapper
    overrides what it changes: `draw` and `weights` for another parametrisation, `loss` for another loss or
    gradient, `batch` for other data.

    Wrapping changes none of the wrapped task's own draws.
    """

    task: Task

    SALT: ClassVar[int] = 0
    """Folded into keys that the wrapped task uses, too."""

    def draw(self, member: Instance, key: Key[Array, ""]) -> Any:
        """Draw what the wrapper adds to a member of the wrapped task; by default nothing."""
        del member, key
        return ()

    def weights(self, instance: Wrapped, params: Params) -> Params:
        """Return the wrapped task's parameters for those of this one; by default they are the same."""
        del instance
        return params

    def own_key(self, key: Key[Array, ""]) -> Key[Array, ""]:
        """Return a key that differs from those of the wrapped tasks, also of wrappers of the same kind."""
        inner, depth = self.task, 0
        while isinstance(inner, Wrapper):
            inner, depth = inner.task, depth + 1
        return jax.random.fold_in(key, self.SALT + depth)

    def sample(self, key: Key[Array, ""]) -> Wrapped:
        """Draw a member of the wrapped task, and what the wrapper adds."""
        member = self.task.sample(key)
        return Wrapped(member, self.draw(member, self.own_key(key)))

    def init(self, instance: Wrapped, key: Key[Array, ""]) -> Params:
        """Draw the wrapped task's initial parameters."""
        return self.task.init(instance.task, key)

    def batch(self, instance: Wrapped, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw a batch of the wrapped task."""
        return self.task.batch(instance.task, key, split)

    def loss(
        self, instance: Wrapped, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the wrapped task's loss."""
        return self.task.loss(instance.task, self.weights(instance, params), batch, key)

    def accuracy(
        self, instance: Wrapped, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""] | None:
        """Return the wrapped task's accuracy."""
        return self.task.accuracy(instance.task, self.weights(instance, params), batch, key)

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """Those of the wrapped task."""
        return self.task.hyperparameters

    def tuned(self, instance: Wrapped, values: Mapping[str, Float[Array, ""]]) -> Wrapped:
        """Return the member whose wrapped one has given hyperparameters."""
        return instance._replace(task=self.task.tuned(instance.task, values))

    @property
    def gradient_delay(self) -> int:
        """That of the wrapped task."""
        return self.task.gradient_delay

    @property
    def ceiling(self) -> float:
        """That of the wrapped task."""
        return self.task.ceiling

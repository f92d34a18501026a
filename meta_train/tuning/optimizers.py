"""Optimizers by name whose hyperparameters may be tuned, and how optax writes them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import optax

from lopt import UsageError, check_name
from tasks import Hyperparameter

from .known import KNOWN

Make = Callable[..., optax.GradientTransformation]


@dataclasses.dataclass(frozen=True)
class TunableOptimizer:
    """An optimizer as a function of its hyperparameters.

    Attributes:
        name: what it is registered as.
        make: a function of hyperparameters as keyword arguments, scalars that may be traced. It is called
            with new values in every step, so the state that it makes must not depend on them.
        hyperparameters: by name; those without a default of their own in `make` start as said here.
        expression: Python that makes it, with {NAME} for the value of each hyperparameter.
    """

    name: str
    make: Make
    hyperparameters: Mapping[str, Hyperparameter]
    expression: str

    @property
    def defaults(self) -> dict[str, float]:
        """What a hyperparameter is that is neither tuned nor set, by its name."""
        given = inspect.signature(self.make).parameters
        return {
            name: given[name].default
            if given[name].default is not inspect.Parameter.empty
            else hyperparameter.range[0]
            for name, hyperparameter in self.hyperparameters.items()
        }


OPTIMIZERS: dict[str, TunableOptimizer] = {}
"""Optimizers that can be tuned, by name."""


def register_optimizer(
    name: str, expression: str | None = None, **hyperparameters: Hyperparameter
) -> Callable[[Make], Make]:
    """Return a decorator that registers an optimizer for tuning.

    Args:
        name: for `--optimizer`.
        expression: as for `TunableOptimizer`; default: a call of the function by its name.
        **hyperparameters: those whose names are not in `KNOWN`, or that differ from there.

    Raises:
        UsageError: when the name is taken or is none, or a hyperparameter is not known.
    """
    check_name(name)

    def add(make: Make) -> Make:
        if name in OPTIMIZERS:
            raise UsageError(f"an optimizer called {name!r} is registered for tuning already")
        names = list(inspect.signature(make).parameters)
        if unknown := [one for one in names if one not in KNOWN | hyperparameters]:
            raise UsageError(
                f"optimizer {name!r}: say what {unknown[0]} may be: "
                f"@register_optimizer({name!r}, {unknown[0]}=tasks.Hyperparameter(...))"
            )
        call = ", ".join(f"{one}={{{one}}}" for one in names)
        OPTIMIZERS[name] = TunableOptimizer(
            name,
            make,
            {one: (KNOWN | hyperparameters)[one] for one in names},
            expression or f"{make.__name__}({call})",
        )
        return make

    return add


@register_optimizer(
    "sgd",
    "optax.chain(optax.add_decayed_weights({weight_decay}), optax.sgd({learning_rate}, momentum={momentum}))",
)
def sgd(learning_rate: Any, momentum: Any = 0.0, weight_decay: Any = 0.0) -> optax.GradientTransformation:
    """Make gradient descent with momentum; weight decay is added to the gradient."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


@register_optimizer("adam", "optax.adam({learning_rate}, b1={b1}, b2={b2}, eps={eps})")
def adam(learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> optax.GradientTransformation:
    """Make Adam."""
    return optax.adam(learning_rate, b1, b2, eps)


@register_optimizer(
    "adamw", "optax.adamw({learning_rate}, b1={b1}, b2={b2}, eps={eps}, weight_decay={weight_decay})"
)
def adamw(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, weight_decay: Any = 1e-4
) -> optax.GradientTransformation:
    """Make AdamW: the decay is apart from the gradient, and times the learning rate."""
    return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay)


@register_optimizer(
    "nadamw", "optax.nadamw({learning_rate}, b1={b1}, b2={b2}, eps={eps}, weight_decay={weight_decay})"
)
def nadamw(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, weight_decay: Any = 1e-4
) -> optax.GradientTransformation:
    """Make AdamW with Nesterov's momentum."""
    return optax.nadamw(learning_rate, b1, b2, eps, weight_decay=weight_decay)


@register_optimizer("rmsprop", "optax.rmsprop({learning_rate}, decay={b2}, eps={eps})")
def rmsprop(learning_rate: Any, b2: Any = 0.9, eps: Any = 1e-8) -> optax.GradientTransformation:
    """Make RMSProp."""
    return optax.rmsprop(learning_rate, b2, eps)


@register_optimizer("lion", "optax.lion({learning_rate}, b1={b1}, b2={b2}, weight_decay={weight_decay})")
def lion(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.99, weight_decay: Any = 1e-3
) -> optax.GradientTransformation:
    """Make Lion."""
    return optax.lion(learning_rate, b1, b2, weight_decay=weight_decay)

"""What a tuned training is made of, and the same as Python to paste."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from .optimizers import OPTIMIZERS
from .schedules import SCHEDULES
from .space import Space


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What the training of a tuned network depends on besides theta.

    Attributes:
        space: what is tuned.
        optimizer: a name in `OPTIMIZERS`.
        schedule: a name in `SCHEDULES`.
        fixed: hyperparameters that are set and not tuned.
    """

    space: Space
    optimizer: str = "sgd"
    schedule: str = "constant"
    fixed: tuple[tuple[str, float], ...] = ()

    def expression(self, values: Mapping[str, float], steps: int) -> str:
        """Return Python that makes the tuned optimizer, with `optax`, `jax` and `jnp`.

        Args:
            values: by name, NAME@GROUP where a group of tensors has its own.
            steps: how long a schedule lasts.
        """
        everything = dict(self.fixed) | dict(values)
        before = []
        if "l2" in everything:
            before.append(f"optax.add_decayed_weights({everything['l2']!r})")
        if "gradient_noise" in everything:
            # optax's noise has a variance of eta / (1 + t) ** gamma.
            before.append(f"optax.add_noise({everything['gradient_noise'] ** 2!r}, 0.0, 0)")
        if "clip" in everything:
            before.append(f"optax.clip_by_global_norm({everything['clip']!r})")
        rule = self._rule(values, steps)
        return f"optax.chain({', '.join([*before, rule])})" if before else rule

    def _rule(self, values: Mapping[str, float], steps: int) -> str:
        made = {group: self._of_group(values, group, steps) for group in self.space.groups}
        if list(made) == [""]:
            return made[""]
        chosen = ", ".join(f"{group!r}: {one}" for group, one in made.items())
        by_tensor = any(one.scope == "tensor" for one in self.space.tuned)
        labels = (
            "lambda params: jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.keystr("
            f"{'path' if by_tensor else 'path[:-1]'}, simple=True, separator='.') or 'parameters', params)"
        )
        return f"optax.partition({{{chosen}}}, {labels})"

    def _of_group(self, values: Mapping[str, float], group: str, steps: int) -> str:
        optimizer = OPTIMIZERS[self.optimizer]
        own = optimizer.defaults | dict(self.fixed)
        for label, value in values.items():
            name, at, of = label.partition("@")
            if not at or of == group:
                own[name] = value
        numbers = {name: repr(float(value)) for name, value in own.items()}
        if self.schedule != "constant" and "learning_rate" in optimizer.hyperparameters:
            rate = SCHEDULES[self.schedule].expression
            numbers["learning_rate"] = rate.format(horizon=steps, **numbers)
        return optimizer.expression.format(**numbers)

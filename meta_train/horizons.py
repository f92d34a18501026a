"""Distributions of episode lengths: numbers of inner steps, always multiples of the window."""

from __future__ import annotations

import abc
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lopt import UsageError

from .registry import Registry

_TAKEN, _AGAIN = 0x74616B65, 0x61676169


@dataclasses.dataclass(frozen=True)
class Horizon(abc.ABC):
    """A distribution of episode lengths, in inner steps."""

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], window: int, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        """Draw a length in inner steps, a multiple of `window`.

        Args:
            key: a typed PRNG key.
            window: inner steps per window.
            meta_step: meta-steps done so far, for distributions that change during meta-training.
        """

    @abc.abstractmethod
    def bounds(self) -> tuple[int, int]:
        """Return the shortest and the longest length that may be drawn, in inner steps."""

    def sample_in_progress(
        self, key: Key[Array, ""], window: int, meta_step: Int[Array, ""], wanted: Bool[Array, ""]
    ) -> Int[Array, ""]:
        """Draw the length of an episode that is in progress at a random time, or an ordinary length.

        A random time falls into longer episodes more often: the length has a probability proportional to
        probability x length. It is drawn by rejection, which works for any distribution.

        Args:
            key: a typed PRNG key.
            window: inner steps per window.
            meta_step: meta-steps done so far.
            wanted: whether to draw that of an episode in progress; otherwise the result is that of `sample`.
        """
        drawn = self.sample(key, window, meta_step)
        shortest, longest = self.bounds()
        if shortest == longest:
            return drawn

        def taken(key: Key[Array, ""], steps: Int[Array, ""]) -> Bool[Array, ""]:
            # A separate stream: `sample` may use fold_in with small numbers.
            uniform = jax.random.uniform(jax.random.fold_in(key, _TAKEN))
            return longest * uniform < steps.astype(uniform.dtype)

        def again(tried: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            key = jax.random.fold_in(tried[0], _AGAIN)
            steps = self.sample(key, window, meta_step)
            return key, steps, taken(key, steps)

        tried = (key, drawn, ~wanted | taken(key, drawn))
        return jax.lax.while_loop(lambda tried: ~tried[2], again, tried)[1]

    def check(self, window: int) -> None:
        """Check that the bounds are multiples of the window: a window never straddles an episode's end.

        Raises:
            UsageError: if they are not; the message says what to choose instead.
        """
        for steps in self.bounds():
            if steps <= 0 or steps % window:
                below = max(steps // window, 1) * window
                raise UsageError(
                    f"a window of {window} inner steps does not divide a horizon of {steps}: an episode must "
                    f"end with a window; take a horizon of {below} or {below + window}, or another window"
                )


HORIZONS: Registry[Horizon] = Registry("horizon", Horizon)
"""Distributions of episode lengths by their names in configurations."""


@HORIZONS.register("constant")
@dataclasses.dataclass(frozen=True)
class ConstantHorizon(Horizon):
    """Every episode lasts `steps` inner steps."""

    steps: int

    def sample(self, key: Key[Array, ""], window: int, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        """Return `steps`."""
        return jnp.asarray(self.steps, jnp.int32)

    def bounds(self) -> tuple[int, int]:
        """Return `steps` twice."""
        return self.steps, self.steps


@HORIZONS.register("log-uniform")
@dataclasses.dataclass(frozen=True)
class LogUniformHorizon(Horizon):
    """Lengths log-uniform between `low` and `high` inner steps, rounded to whole windows.

    Raises:
        UsageError: if low is above high.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)

    def sample(self, key: Key[Array, ""], window: int, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        """Draw a length; the meta-step is not used."""
        return _log_uniform(key, window, self.low, jnp.asarray(self.high, jnp.float32))

    def bounds(self) -> tuple[int, int]:
        """Return `low` and `high`."""
        return self.low, self.high


@HORIZONS.register("curriculum")
@dataclasses.dataclass(frozen=True)
class CurriculumHorizon(Horizon):
    """Log-uniform lengths whose upper end grows geometrically from `low` to `high` inner steps.

    Attributes:
        low: the shortest length, and the only one at the start.
        high: the longest length from meta-step `meta_steps` on.
        meta_steps: duration of the growth, in meta-steps.

    Raises:
        UsageError: if low is above high, or `meta_steps` is not positive.
    """

    low: int
    high: int
    meta_steps: int

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)
        if self.meta_steps < 1:
            raise UsageError(f"a curriculum takes at least 1 meta-step, not {self.meta_steps}")

    def sample(self, key: Key[Array, ""], window: int, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        """Draw a length from the range at `meta_step`."""
        progress = jnp.minimum(meta_step / self.meta_steps, 1.0)
        return _log_uniform(key, window, self.low, self.low * (self.high / self.low) ** progress)

    def bounds(self) -> tuple[int, int]:
        """Return `low` and `high`."""
        return self.low, self.high


def _check_order(low: int, high: int) -> None:
    if low > high:
        raise UsageError(f"horizons run from low to high, but {low} is above {high}")


def _log_uniform(key: Key[Array, ""], window: int, low: int, high: Float[Array, ""]) -> Int[Array, ""]:
    uniform = jax.random.uniform(key)
    high = high.astype(uniform.dtype)
    steps = low * jnp.exp(uniform * jnp.log(high / low))
    windows = jnp.clip(jnp.round(steps / window), low // window, jnp.ceil(high / window))
    return window * windows.astype(jnp.int32)

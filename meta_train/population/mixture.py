"""A mixture of tasks: particles for each task, and one gradient.

Theta's gradient is the sum over tasks of weight x (mean over the task's particles of estimate / scale). The
scale is a running mean of the norms of the task's estimates, so a task counts by its weight, regardless of
how large its losses or how noisy its estimates are. A single task has no scale: its gradient is not
normalised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import UsageError

from ..dynamics import Theta
from ..estimators import Estimate
from .diagnostics import agreement
from .mesh import Devices
from .tally import Counts, Metrics, Moments, Ratio, Tally

MEMORY = 0.99
"""Decay of a scale per meta-step, once it is settled."""
OUTLIER = 16.0
"""Bound on a meta-step's mean norm in the update of a scale, relative to the current scale.

So one meta-step raises a settled scale by at most 15 %. The scale is the true mean if more than one in 16
meta-steps has a nonzero estimate; otherwise it would be too small, and shrink.
"""
ONLY = "only"
"""The task's name in a run of a single system."""
_TINY = 1e-30
_PER_TASK = ("loss", "diverged", "particle_norm")


class Scale(struct.PyTreeNode):
    """The running size of a task's estimates."""

    value: Float[Array, ""]
    """Mean norm; 0 until it is known."""
    seen: Int[Array, ""]
    """Number of meta-steps in the mean."""

    @classmethod
    def unknown(cls) -> Scale:
        """Return the scale of a task without any estimate so far."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))

    @property
    def known(self) -> Bool[Array, ""]:
        """Whether there was a nonzero estimate."""
        return self.value > _TINY

    @property
    def inverse(self) -> Float[Array, ""]:
        """Factor of the task's estimates: 0 until the scale is known."""
        return jnp.where(self.known, 1 / jnp.maximum(self.value, _TINY), 0)

    def updated(self, norm: Float[Array, ""], share: Float[Array, ""]) -> Scale:
        """Return the scale updated by a meta-step; without a usable estimate it stays unchanged.

        Zero estimates count once the scale is known: if few episodes are alive, the mean is small.

        The first meta-steps have a larger weight and are soon forgotten, because estimates are smaller before
        the first episodes have grown old. The bound applies to the mean over particles, not to each
        particle's norm: if most norms are zero, the others are many times the mean, and bounding them would
        lower the scale indefinitely.

        Args:
            norm: sum of the norms over the task's particles, divided by their number.
            share: fraction of the particles with estimates that are finite and not silent.
        """
        mean = (norm / jnp.maximum(share, _TINY)).astype(self.value.dtype)
        tells = (share > 0) & jnp.isfinite(mean) & (self.known | (mean > _TINY))
        mean = jnp.where(self.known, jnp.minimum(mean, OUTLIER * self.value), mean)
        rate = jnp.where(self.known, jnp.maximum(1 - MEMORY, 2 / (self.seen + 2)), 1.0)
        value = self.value + rate * (mean - self.value)
        return Scale(jnp.where(tells, value, self.value), self.seen + tells.astype(jnp.int32))


@dataclasses.dataclass(frozen=True)
class Member:
    """A task of a mixture.

    Attributes:
        name: the task's name.
        particles: number of particles; each is an antithetic pair, for estimators that run pairs.
        weight: its share of the gradient, before weights are divided by their sum.
    """

    name: str
    particles: int
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The tasks of a run and their weights; their particles share the devices.

    A run of a single task is a mixture of one. Particles are numbered consecutively, in the order of the
    members. Weights are divided by their sum.

    Attributes:
        members: the tasks.
        devices: the devices of all particles.

    Raises:
        UsageError: if there is no member, if two have the same name, for a weight that is not positive, and
            for a number of particles that does not fit the devices.
    """

    members: tuple[Member, ...]
    devices: Devices = dataclasses.field(default_factory=Devices)

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"a mixture has one task or more, each once, not {', '.join(names) or 'none'}")
        if not all(member.weight > 0 for member in self.members):
            raise UsageError("the weights of a mixture must be positive")
        for member in self.members:
            try:
                self.devices.share(member.particles)
            except ValueError as error:
                raise UsageError(f"task {member.name}: {error}" if names[1:] else str(error)) from error

    @classmethod
    def of(cls, particles: int, devices: Devices | None = None) -> Mixture:
        """Return the mixture of a single system, which is called "only".

        Args:
            particles: number of particles.
            devices: their devices; None for all devices.
        """
        return cls((Member(ONLY, particles),), devices or Devices())

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names, in order."""
        return tuple(member.name for member in self.members)

    @property
    def particles(self) -> int:
        """Total number of particles."""
        return sum(member.particles for member in self.members)

    @property
    def weights(self) -> dict[str, float]:
        """Each task's weight; they sum to 1."""
        total = sum(member.weight for member in self.members)
        return {member.name: member.weight / total for member in self.members}

    def numbered(self) -> Iterator[tuple[int, Member]]:
        """Yield each member with the number of its first particle."""
        first = 0
        for member in self.members:
            yield first, member
            first += member.particles

    def unknown_scales(self) -> dict[str, Scale]:
        """Return the scales at the start of a run; empty for a single task."""
        return {name: Scale.unknown() for name in self.names} if len(self.members) > 1 else {}

    def place(self, member: Member) -> tuple[int, float]:
        """Return the number of a member's first particle, and the factor of its estimates.

        With it, the mean over the particles of all tasks is theta's gradient.
        """
        (first,) = (first for first, one in self.numbered() if one == member)
        return first, self.weights[member.name] * self.particles / member.particles

    def total(self, sums: Mapping[str, tuple[Theta, Counts]]) -> tuple[Theta, dict[str, Counts]]:
        """Average gradients over all particles, and counts over each task's own, by one all-reduce.

        Called inside the per-device function.

        Args:
            sums: by task, the sums of its particles' contributions and counts, from `Devices.add_up`.

        Returns:
            Theta's gradient, and the means by task.
        """
        own = [sums[name] for name in self.names]
        gradient = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *(gradient for gradient, _ in own))
        gradient, totals = self.devices.over_devices((gradient, [numbers for _, numbers in own]))
        means = {
            member.name: jax.tree.map(lambda x, n=member.particles: x / n, numbers)
            for member, numbers in zip(self.members, totals, strict=True)
        }
        return jax.tree.map(lambda g: g / self.particles, gradient), means

    def tally(self, gradient: Theta, means: Mapping[str, Counts], scales: Mapping[str, Scale]) -> Tally:
        """Combine the tasks' numbers of a meta-step: weighted means, and in a mixture also each task's own.

        Args:
            gradient: the mean of all particles' estimates.
            means: means by task, as returned by `reduce`.
            scales: the tasks' scales; empty for a single task.
        """
        shown = {name: _relative(found.shown, scales.get(name)) for name, found in means.items()}
        pooled = {member.name: member.particles / self.particles for member in self.members}

        def mean(shares: Mapping[str, float], values: Mapping[str, Array]) -> Array:
            parts = [shares[name] * values[name] for name in self.names]
            return sum(parts[1:], parts[0])

        first = shown[self.names[0]]
        weighed = {m: mean(self.weights, {name: shown[name][m] for name in self.names}) for m in first}
        moments = Moments(
            *(mean(pooled, dict(zip(self.names, numbers, strict=True))) for numbers in self._moments(means))
        )
        ratios = {"objective": Ratio(weighed.pop("objective"), weighed["finished"])}
        for name, scale in scales.items():
            own = means[name].shown
            weighed |= {f"tasks/{name}/{metric}": own[metric] for metric in _PER_TASK}
            weighed |= {f"tasks/{name}/scale": scale.value}
            ratios |= {f"tasks/{name}/objective": Ratio(own["objective"], own["finished"])}
        return Tally(weighed, ratios, moments, agreement(gradient, moments.square, self.particles))

    def _moments(self, means: Mapping[str, Counts]) -> Iterator[tuple[Array, ...]]:
        """Yield, for each moment, its values for all tasks in order."""
        return zip(*(means[name].moments for name in self.names), strict=True)


def _relative(shown: Metrics, scale: Scale | None) -> Metrics:
    """Return norms in units of the scale, so that they can be averaged over tasks."""
    return shown if scale is None else shown | {"particle_norm": shown["particle_norm"] * scale.inverse}


def guard(estimate: Estimate, scale: Scale | None, clip: float | None) -> tuple[Theta, Metrics, Array]:
    """Normalise and clip an estimate, or drop it if it is not finite.

    Args:
        estimate: the estimate of a particle.
        scale: the scale of its task; None for a single task, whose estimates are not normalised.
        clip: bound on the norm of a normalised estimate; None for no bound.

    Returns:
        The gradient, the particle's metrics, and 1 if the estimate counts, that is, if it is finite and not
        silent.
    """
    norm = optax.tree.norm(estimate.gradient)
    usable = jnp.isfinite(norm)
    inverse = 1.0 if scale is None else scale.inverse
    kept = 1.0 if clip is None else jnp.minimum(1.0, clip / jnp.maximum(norm * inverse, _TINY))
    gradient = jax.tree.map(lambda g: jnp.where(usable, g * (inverse * kept), 0), estimate.gradient)
    metrics = {
        "particle_norm": jnp.where(usable, norm, 0),
        "clipped": (usable & (kept < 1)).astype(jnp.float32),
        "dropped": (~usable).astype(jnp.float32),
    }
    telling = usable & ~jnp.asarray(estimate.silent)
    return gradient, estimate.metrics | metrics, telling.astype(jnp.float32)


def follow(scales: Mapping[str, Scale], means: Mapping[str, Counts]) -> dict[str, Scale]:
    """Return the scales after a meta-step with the given means by task."""
    return {
        name: scale.updated(means[name].shown["particle_norm"], means[name].telling)
        for name, scale in scales.items()
    }


def informed(scales: Mapping[str, Scale], means: Mapping[str, Counts]) -> Bool[Array, ""]:
    """Return whether any task of a meta-step has an estimate that counts.

    Estimates don't count if they are not finite, silent, or of a task whose scale is not known yet.

    Args:
        scales: the scales before the meta-step; empty for a single task.
        means: means by task.
    """
    counts = [
        (found.telling > 0) & (scales[name].known if name in scales else True)
        for name, found in means.items()
    ]
    return jnp.any(jnp.stack(counts))

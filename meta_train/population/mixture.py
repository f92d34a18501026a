"""A mixture of tasks: particles for each, and one gradient of them all.

Theta's gradient is the sum over tasks of weight x (mean over the task's particles of estimate / scale). The
scale is a running mean of the norms of the task's estimates, so that a task counts by its weight, however
large its losses are or however noisy its estimates. A single task has no scale: its gradient is its own.
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
"""What a scale keeps of itself in a meta-step, once it is settled."""
OUTLIER = 16.0
"""A meta-step's mean norm counts for the scale as this many times the present one at most.

So one meta-step raises a settled scale by 15 % at most. The scale is the true mean as long as more than one
in so many meta-steps has an estimate that is not zero; below that it would be too small, and shrink.
"""
ONLY = "only"
"""The task's name where a run has one that needs none."""
_TINY = 1e-30
_PER_TASK = ("loss", "diverged", "particle_norm")


class Scale(struct.PyTreeNode):
    """The running size of a task's estimates."""

    value: Float[Array, ""]
    """Mean norm; 0 while it is not known."""
    seen: Int[Array, ""]
    """Meta-steps that it is a mean of."""

    @classmethod
    def unknown(cls) -> Scale:
        """Return the scale of a task that gave no estimate yet."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))

    @property
    def known(self) -> Bool[Array, ""]:
        """Whether there was an estimate that was not zero."""
        return self.value > _TINY

    @property
    def inverse(self) -> Float[Array, ""]:
        """What estimates are multiplied by: 0 while the scale is not known."""
        return jnp.where(self.known, 1 / jnp.maximum(self.value, _TINY), 0)

    def updated(self, norm: Float[Array, ""], share: Float[Array, ""]) -> Scale:
        """Take in a meta-step; one in which no estimate tells anything leaves the scale as it is.

        Zeros count, once there was something else: where few episodes are alive, the mean is small.

        Early on a meta-step weighs more, and the very first are soon forgotten: estimates are smaller before
        the first episodes have grown old. The mean over particles is bounded, not each particle's norm: if
        most of these are zero, the others are many times the mean, and a bound on them would lower it without
        end.

        Args:
            norm: sum of the norms over the task's particles, divided by their number.
            share: of the particles whose estimates are finite and not silent.
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
        name: of the task.
        particles: how many; each is an antithetic pair, for estimators that run pairs.
        weight: what share of the gradient it has, before weights are divided by their sum.
    """

    name: str
    particles: int
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The tasks of a run and how they are weighed; their particles share the devices.

    A run of a single task is a mixture of one. Particles are numbered through, in the order of the members.
    Weights are divided by their sum.

    Attributes:
        members: the tasks.
        devices: where all particles live.

    Raises:
        UsageError: when there is no member, when two have a name in common, for a weight that is not
            positive, and for a number of particles that does not fit the devices.
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
        """Return the mixture of a single system whose name does not matter: it is called "only".

        Args:
            particles: how many.
            devices: where they live; None for all devices.
        """
        return cls((Member(ONLY, particles),), devices or Devices())

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names, in order."""
        return tuple(member.name for member in self.members)

    @property
    def particles(self) -> int:
        """Particles in all."""
        return sum(member.particles for member in self.members)

    @property
    def weights(self) -> dict[str, float]:
        """Each task's weight; they sum to 1."""
        total = sum(member.weight for member in self.members)
        return {member.name: member.weight / total for member in self.members}

    def numbered(self) -> Iterator[tuple[int, Member]]:
        """Yield the members, each with the number of its first particle."""
        first = 0
        for member in self.members:
            yield first, member
            first += member.particles

    def unknown_scales(self) -> dict[str, Scale]:
        """Return the scales at the start of a run: none for a single task."""
        return {name: Scale.unknown() for name in self.names} if len(self.members) > 1 else {}

    def contribution(self, member: Member, gradient: Theta) -> Theta:
        """Return a normalised estimate so that the mean over the particles of all tasks is the gradient."""
        share = self.weights[member.name] * self.particles / member.particles
        return jax.tree.map(lambda g: share * g, gradient)

    def reduce(
        self, contributions: Mapping[str, Theta], counts: Mapping[str, Counts]
    ) -> tuple[Theta, dict[str, Counts]]:
        """Average over all particles, and each task's numbers over its own, by one all-reduce.

        Called inside the per-device function.

        Args:
            contributions: by task; the first axis is this device's particles.
            counts: by task, the same.

        Returns:
            Theta's gradient, and the means by task.
        """
        sums = [
            self.devices.add_up((contributions[member.name], counts[member.name])) for member in self.members
        ]
        gradient = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *(gradient for gradient, _ in sums))
        gradient, totals = self.devices.over_devices((gradient, [numbers for _, numbers in sums]))
        means = {
            member.name: jax.tree.map(lambda x, n=member.particles: x / n, numbers)
            for member, numbers in zip(self.members, totals, strict=True)
        }
        return jax.tree.map(lambda g: g / self.particles, gradient), means

    def tally(self, gradient: Theta, means: Mapping[str, Counts], scales: Mapping[str, Scale]) -> Tally:
        """Make a meta-step's numbers of its tasks': weighted means, and in a mixture each task's own.

        Args:
            gradient: the mean of all particles' estimates.
            means: by task, as `reduce` gives them.
            scales: of the tasks; empty for a single one.
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
        """Yield each of the moments, of all tasks in order."""
        return zip(*(means[name].moments for name in self.names), strict=True)


def _relative(shown: Metrics, scale: Scale | None) -> Metrics:
    """Give norms in units of the scale, so that they can be averaged over tasks."""
    return shown if scale is None else shown | {"particle_norm": shown["particle_norm"] * scale.inverse}


def guard(estimate: Estimate, scale: Scale | None, clip: float | None) -> tuple[Theta, Metrics, Array]:
    """Drop an estimate that is not finite, normalise one that is, clip what is large then, and count.

    Args:
        estimate: a particle's.
        scale: its task's; None for a single task, whose estimates stay as they are.
        clip: bound on the norm of a normalised estimate; None for no bound.

    Returns:
        The estimate, the particle's metrics, and 1 where it tells anything: it is finite and not silent.
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
    """Return the scales after a meta-step whose numbers, by task, are given."""
    return {
        name: scale.updated(means[name].shown["particle_norm"], means[name].telling)
        for name, scale in scales.items()
    }


def informed(scales: Mapping[str, Scale], means: Mapping[str, Counts]) -> Bool[Array, ""]:
    """Tell whether a meta-step's gradient says anything: whether any task has an estimate that counts.

    Those don't that are not finite, that are silent, or whose task's scale is not known.

    Args:
        scales: before the meta-step; empty for a single task.
        means: numbers by task.
    """
    counts = [
        (found.telling > 0) & (scales[name].known if name in scales else True)
        for name, found in means.items()
    ]
    return jnp.any(jnp.stack(counts))

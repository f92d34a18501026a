"""The two phases of a meta-step: the members' windows, and the update of theta by what they found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics, Theta
from ..estimators import Estimator
from .diagnostics import moments
from .mixture import Member, Mixture, Scale, follow, guard, informed
from .part import Part
from .tally import Counts, Metrics, Tally


class MetaState(struct.PyTreeNode):
    """The complete state of a meta-training run, except for its particles."""

    theta: Theta
    """The meta-parameters."""
    outer: Any
    """State of the outer optimizer."""
    meta_step: Int[Array, ""]
    """Meta-steps done."""
    key: Key[Array, ""]
    """The run's PRNG key; it never changes."""
    scales: dict[str, Scale] = struct.field(default_factory=dict)
    """In a mixture, the scale of each task's estimates."""


class Now(NamedTuple):
    """What a member's windows need of the run's state."""

    theta: Theta
    key: Key[Array, ""]
    meta_step: Int[Array, ""]
    scale: Scale | None
    """The member's scale; None for a single task."""


class Place(NamedTuple):
    """A member's place in a mixture."""

    first: Int[Array, ""] | int
    """The number of its first particle."""
    share: Float[Array, ""] | float
    """Factor of its estimates in the mean over the particles of all members."""


@dataclasses.dataclass(frozen=True)
class Phases:
    """The phases of a meta-step on each device; see `make_meta_step` for the attributes."""

    estimator: Estimator
    outer: optax.GradientTransformation
    mixture: Mixture
    particle_clip: float | None
    gradient_clip: float | None
    part: Part

    def window(
        self, particles: int, now: Now, members: Any, dynamics: Dynamics, place: Place
    ) -> tuple[Any, Theta, Counts]:
        """Run a window of a member's particles.

        Args:
            particles: the member's number of particles on all devices.
            now: the state.
            members: the particles of this device.
            dynamics: the member's dynamics.
            place: the member's place.

        Returns:
            The particles, their contributions to theta's gradient, and their counts.
        """
        step_key = jax.random.fold_in(now.key, now.meta_step)
        theta, dynamics = self.part.of(now.theta), self.part.dynamics(dynamics, now.theta)

        def particle(index: Array, particle: Any) -> tuple[Any, Theta, Counts]:
            key = jax.random.fold_in(step_key, index)
            particle, estimate = self.estimator.step(dynamics, theta, particle, key, now.meta_step)
            gradient, metrics, telling = guard(estimate, now.scale, self.particle_clip)
            gradient = jax.tree.map(lambda g: jnp.asarray(place.share, g.dtype) * g, gradient)
            age = metrics.pop("age")
            return particle, gradient, Counts(metrics, telling, moments(gradient, age))

        devices = self.mixture.devices
        return devices.each(particles, particle, place.first + devices.indices(particles), members)

    def update(self, state: MetaState, sums: Mapping[str, Any]) -> tuple[MetaState, Tally]:
        """Update theta and the scales.

        Args:
            state: the state.
            sums: by member, this device's sums of contributions and counts, as of `Devices.add_up`.
        """
        gradient, means = self.mixture.total(sums)
        scales = follow(state.scales, means)
        tally = self.mixture.tally(gradient, means, scales)
        broken = jnp.all(jnp.stack([found.shown["dropped"] >= 1 for found in means.values()]))
        tells = informed(state.scales, means)
        moved, outcome = self._move(gradient, state, tells)
        silent = ~tells & ~broken
        outcome |= {"skipped": jnp.where(silent, 0, outcome["skipped"]), "silent": silent.astype(jnp.float32)}
        return moved.replace(scales=scales), tally._replace(shown=tally.shown | outcome)

    def now(self, state: MetaState, member: Member) -> Now:
        """Return what a member's windows need of a state."""
        return Now(state.theta, state.key, state.meta_step, state.scales.get(member.name))

    def _move(self, gradient: Theta, state: MetaState, tells: Array) -> tuple[MetaState, Metrics]:
        """Update theta by the outer optimizer, if the gradient counts and theta stays finite."""
        # Under jax_enable_x64 a system may be float64; theta and the outer optimizer are not.
        before = self.part.of(state.theta)
        gradient = optax.tree.cast_like(gradient, before)
        norm = optax.tree.norm(gradient)
        clip = self.gradient_clip
        if clip is not None:
            gradient, _ = optax.clip_by_global_norm(clip).update(gradient, optax.EmptyState())
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
            updates, outer_state = self.outer.update(gradient, state.outer, before)
        theta = self.part.joined(optax.apply_updates(before, updates), state.theta)
        ok = tells & jnp.isfinite(optax.tree.norm(theta))
        choose = lambda new, old: jnp.where(ok, new, old)  # noqa: E731
        theta, outer_state = jax.tree.map(choose, (theta, outer_state), (state.theta, state.outer))
        metrics = {
            "gradient_norm": norm,
            "theta_norm": optax.tree.norm(theta),
            "update_norm": jnp.where(ok, optax.tree.norm(updates), 0),
            "gradient_clipped": jnp.zeros(()) if clip is None else (norm > clip).astype(jnp.float32),
            "skipped": (~ok).astype(jnp.float32),
        }
        return state.replace(theta=theta, outer=outer_state, meta_step=state.meta_step + 1), metrics

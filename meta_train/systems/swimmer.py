"""A planar swimmer of three links in a viscous fluid, controlled by a linear policy."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics


class Swimming(NamedTuple):
    """A swimmer between two steps; only its joints have inertia."""

    position: Float[Array, "2"]
    """Centre of the middle link, in link lengths."""
    heading: Float[Array, ""]
    """Angle of the middle link to the x axis, in radians."""
    joints: Float[Array, "2"]
    """Angles of the front and the back link to the middle one, in radians."""
    joint_rates: Float[Array, "2"]
    """Radians per second."""
    velocity: Float[Array, "2"]
    """Velocity of the centre in the previous step, in link lengths per second."""
    turn: Float[Array, ""]
    """Angular velocity of the heading in the previous step, in radians per second."""


class Swimmer(Dynamics):
    """Swim along the x axis by bending: theta is the matrix of a linear policy.

    The torque at a joint is `gear` times an entry of theta @ observation, clipped to [-1, 1]; theta is 2 x 8,
    initially zero. The observation is the two joint angles, their rates, the heading, the velocity in x and
    y, and the turn. Joints have inertia, are damped, and are pushed back softly beyond their limit. The fluid
    is so viscous that the body's inertia is negligible: drag along and across each link is proportional to
    velocity (resistive-force theory), and the body moves such that total force and torque vanish. Hence a
    stroke that is reversed exactly gives no net motion (the scallop theorem), and swimming requires both
    joints out of phase. Each step moves the body by the mean of its old and new shape, so the theorem holds
    for steps of any length.

    The loss of a step is minus the velocity along x in link lengths per second. Episodes begin almost
    straight and at rest, along x. Modelled after MuJoCo's Swimmer, but with different physics, so returns are
    not comparable.

    Attributes:
        seconds: length of a step.
        gear: largest torque; with unit inertia, in radians per second squared.
        damping: torque per radian per second.
        inertia: inertia of a joint.
        limit: joint angle beyond which the joint is pushed back, in radians.
        stiffness: torque per radian beyond the limit.
        drag_ratio: ratio of the drag across a link to the drag along it.
        spread: the initial angles and rates are uniform within this range.

    References: Purcell 1977, Life at low Reynolds number; Coulom 2002, Reinforcement learning using neural
        networks (the swimmer as a control task).
    """

    seconds: float = struct.field(pytree_node=False, default=0.04)
    gear: float = struct.field(pytree_node=False, default=4.0)
    damping: float = struct.field(pytree_node=False, default=1.0)
    inertia: float = struct.field(pytree_node=False, default=0.5)
    limit: float = struct.field(pytree_node=False, default=1.7)
    stiffness: float = struct.field(pytree_node=False, default=20.0)
    drag_ratio: float = struct.field(pytree_node=False, default=2.0)
    spread: float = struct.field(pytree_node=False, default=0.1)

    def init(self, theta: Float[Array, "2 8"], horizon: Int[Array, ""], key: Key[Array, ""]) -> Swimming:
        """Return a state almost straight along the x axis."""
        draws = jax.random.uniform(key, (5,), theta.dtype, -self.spread, self.spread)
        still = jnp.zeros(2, theta.dtype)
        return Swimming(still, draws[0], draws[1:3], draws[3:5], still, jnp.zeros((), theta.dtype))

    def step(
        self, theta: Float[Array, "2 8"], state: Swimming, key: Key[Array, ""]
    ) -> tuple[Swimming, Float[Array, ""]]:
        """Apply the policy's torques, and move the body."""
        moved = self.bend(state, jnp.clip(theta @ observe(state), -1.0, 1.0))
        return moved, -moved.velocity[0]

    def bend(self, state: Swimming, action: Float[Array, "2"]) -> Swimming:
        """Apply torques of `gear` times the action for one step."""
        excess = state.joints - jnp.clip(state.joints, -self.limit, self.limit)
        torque = self.gear * action - self.stiffness * excess
        # Implicit in the damping, so that no choice of it is unstable.
        rates = state.joint_rates + self.seconds * torque / self.inertia
        rates = rates / (1 + self.seconds * self.damping / self.inertia)
        return self.reshape(state, state.joints + self.seconds * rates)

    def reshape(self, state: Swimming, joints: Float[Array, "2"]) -> Swimming:
        """Move the joints to new angles in one step, and the body accordingly."""
        bent = joints - state.joints
        middle = (joints + state.joints) / 2
        forward, sideways, turned = self.connection(middle) @ bent
        # With the mean heading, the reverse step is the exact inverse.
        heading = state.heading + turned / 2
        cos, sin = jnp.cos(heading), jnp.sin(heading)
        shift = jnp.stack([cos * forward - sin * sideways, sin * forward + cos * sideways])
        return Swimming(
            position=state.position + shift,
            heading=state.heading + turned,
            joints=joints,
            joint_rates=bent / self.seconds,
            velocity=shift / self.seconds,
            turn=turned / self.seconds,
        )

    def connection(self, joints: Float[Array, "2"]) -> Float[Array, "3 2"]:
        """Return the motion of the body per radian of each joint: forward, sideways, and turning.

        It is in the middle link's frame, and makes total force and torque vanish.
        """
        resistance = sum(
            (self._resistance(links) for links in _link_velocities(joints)), start=jnp.zeros((5, 5))
        )
        return -_solve(resistance[:3, :3], resistance[:3, 3:])

    def _resistance(self, velocities: Float[Array, "3 5"]) -> Float[Array, "5 5"]:
        """Return a link's drag, given its velocities (along, across, turning) per generalised velocity."""
        # The rotational drag of a rod of unit length about its centre is 1/12 of its drag across.
        drags = jnp.array([1.0, self.drag_ratio, self.drag_ratio / 12])
        return velocities.T @ (drags[:, None] * velocities)


def observe(state: Swimming) -> Float[Array, "8"]:
    """Return the policy's observation."""
    scalars = jnp.stack([state.heading, *state.velocity, state.turn])
    return jnp.concatenate([state.joints, state.joint_rates, scalars])


def _link_velocities(joints: Float[Array, "2"]) -> list[Float[Array, "3 5"]]:
    """Return each link's velocity along itself, across itself, and turning.

    Per unit of the body's velocity forward, sideways and turning, and of the joints' rates.
    """
    links = [jnp.eye(3, 5)]
    for joint, side in enumerate((0.5, -0.5)):  # The hinges are half a length before and behind the centre.
        cos, sin = jnp.cos(joints[joint]), jnp.sin(joints[joint])
        zero = jnp.zeros_like(cos)
        turning = jnp.eye(5)[2] + jnp.eye(5)[3 + joint]
        # The hinge moves with the body; the link's centre turns about the hinge.
        along = jnp.stack([cos, sin, side * sin, zero, zero])
        across = jnp.stack([-sin, cos, side * cos, zero, zero]) + side * turning
        links.append(jnp.stack([along, across, turning]))
    return links


def _solve(matrix: Float[Array, "3 3"], right: Float[Array, "3 n"]) -> Float[Array, "3 n"]:
    """Solve a 3 x 3 system by Cramer's rule, because a batch of LAPACK calls would dominate a step."""
    rows = matrix
    cofactors = jnp.stack([jnp.cross(rows[(i + 1) % 3], rows[(i + 2) % 3]) for i in range(3)])
    return cofactors.T @ right / (rows[0] @ cofactors[0])

"""Arrays that are placed on devices like a parameter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def zeros_like(param: Array, units: int | None = None) -> Float[Array, "..."]:
    """Return float32 zeros of a parameter's shape, or with a last axis of `units`, placed like it.

    `jnp.zeros` would place them on the first device, or in a jitted function on all devices.
    """
    if units is not None:
        param = jnp.broadcast_to(param[..., None], (*param.shape, units))
    # Always false, but computed from the parameter, so the zeros follow its placement.
    return jnp.logical_and(param < 0, param > 0).astype(jnp.float32)


def gathered(x: Array) -> Array:
    """Replicate an array on all devices if its type has a sharding (explicit axes of a mesh)."""
    sharding = jax.typeof(x).sharding
    if sharding.mesh.empty or not any(sharding.spec):
        return x
    return jax.reshard(x, jax.NamedSharding(sharding.mesh, jax.P(*[None] * x.ndim)))


def divided_like(x: Array, like: Array) -> Array:
    """Shard an array like another of its shape, if that one's type has a sharding: undoes `gathered`."""
    sharding = jax.typeof(like).sharding
    return x if sharding.mesh.empty or not any(sharding.spec) else jax.reshard(x, sharding)

"""Arrays that lie where a parameter lies: divided among devices, varying, or in one place as it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def zeros_like(param: Array, units: int | None = None) -> Float[Array, "..."]:
    """Return float32 zeros of a parameter's shape, or with an axis of `units` after it, placed as it is.

    jax alone places zeros on the first device, or in a jitted function on all.
    """
    if units is not None:
        param = jnp.broadcast_to(param[..., None], (*param.shape, units))
    # Computed from the parameter, what is always zero follows its data.
    return jnp.logical_and(param < 0, param > 0).astype(jnp.float32)


def gathered(x: Array) -> Array:
    """Bring an array to all devices where its type says how it is divided (explicit axes of a mesh)."""
    sharding = jax.typeof(x).sharding
    if sharding.mesh.empty or not any(sharding.spec):
        return x
    return jax.reshard(x, jax.NamedSharding(sharding.mesh, jax.P(*[None] * x.ndim)))


def divided_like(x: Array, like: Array) -> Array:
    """Divide an array as another of its shape is whose type says so: the way back from `gathered`."""
    sharding = jax.typeof(like).sharding
    return x if sharding.mesh.empty or not any(sharding.spec) else jax.reshard(x, sharding)

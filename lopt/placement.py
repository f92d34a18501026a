"""Arrays that lie where a parameter lies: divided among devices, varying, or in one place as it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental.shard_alike import shard_alike
from jaxtyping import Array, Float


def zeros_like(param: Array, units: int | None = None) -> Float[Array, "..."]:
    """Return float32 zeros of a parameter's shape, or with an axis of `units` after it, placed as it is.

    jax alone places zeros on the first device, or in a jitted function on all.
    """
    zeros = jnp.zeros_like(param, dtype=jnp.float32)
    if units is not None:
        param, zeros = (jnp.broadcast_to(x[..., None], (*x.shape, units)) for x in (param, zeros))
    return shard_alike(param, zeros)[1]


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

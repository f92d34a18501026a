"""Distribution of particles over devices.

One per-device function is mapped over a one-axis mesh called `particles`, of the devices of all processes.
Particle i's random draws come from its global index, so the result does not depend on the number of devices
and processes, except for rounding, and with the `ordered` reduction on CPU devices it is bitwise the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from lopt import UsageError

Backend = Literal["shard_map", "pmap", "vmap"]
Reduction = Literal["psum", "ordered"]
AXIS = "particles"


_CACHE = 3_000_000
"""Bytes of particle states that a core runs at once, so that they stay in its cache."""


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices on which particles are placed, for any number of particles.

    Attributes:
        count: the number of devices, with the same number in each process; None means all devices of all
            processes.
        backend: `shard_map` (the default), `pmap` (the same through JAX's older interface), or `vmap` (one
            device, no collectives).
        reduction: `psum` sums on each device and then over devices; `ordered` gathers every particle's
            contribution and sums in the population's order.
        chunk: particles that a device runs at once, one chunk after the other. Smaller chunks take less
            memory and stay in a processor's cache. None means as many as fit in the cache on a CPU, and all
            on other devices.

    Raises:
        UsageError: if there are fewer devices, if they can't be divided evenly among the processes, or if the
            backend supports only one process and there are several.
    """

    count: int | None = None
    backend: Backend = "shard_map"
    reduction: Reduction = "psum"
    chunk: int | None = None

    def __post_init__(self) -> None:
        available = jax.device_count()
        if not 1 <= self.in_use <= available:
            raise UsageError(f"{self.in_use} devices were requested, but there are {available}")
        processes = jax.process_count()
        if processes > 1 and self.backend != "shard_map":
            raise UsageError(f"--backend {self.backend} is for one process, and there are {processes}")
        if self.in_use % processes:
            raise UsageError(f"{self.in_use} devices do not divide over {processes} processes")

    @property
    def in_use(self) -> int:
        """The number of devices in use: one with `vmap`."""
        if self.backend == "vmap":
            return 1
        return jax.device_count() if self.count is None else self.count

    def share(self, particles: int) -> int:
        """Return the number of particles per device.

        Raises:
            UsageError: if there are no particles, if they can't be divided evenly among the devices, or a
                device's share into chunks.
        """
        if particles < 1:
            raise UsageError(f"a population has at least 1 particle, not {particles}")
        share, left_over = divmod(particles, self.in_use)
        if left_over:
            near = max(share, 1) * self.in_use
            raise UsageError(
                f"{particles} particles do not divide over {self.in_use} devices: take {near} or "
                f"{near + self.in_use} particles, or fewer devices with --devices"
            )
        if self.chunk is not None and (self.chunk < 1 or share % self.chunk):
            raise UsageError(
                f"chunks of {self.chunk} do not divide the {share} particles of a device: take a "
                f"divisor of {share}, or leave --chunk out"
            )
        return share

    def chunk_size(self, share: int, arguments: Any) -> int:
        """Return the number of particles that a device runs at once.

        Args:
            share: particles of a device.
            arguments: trees of arrays whose first axis is these particles.
        """
        if self.chunk is not None:
            return self.chunk
        if jax.default_backend() != "cpu":
            return share
        size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(arguments)) // share
        fitting = max(_CACHE // max(size, 1), 1)
        return max(n for n in range(1, share + 1) if share % n == 0 and n <= fitting)

    def each(self, particles: int, particle: Callable[..., Any], *arguments: Any) -> Any:
        """Map a function of one particle over this device's share. Called inside the per-device function.

        Args:
            particles: number of particles on all devices.
            particle: the function.
            *arguments: trees of arrays whose first axis is this device's share.
        """
        share = self.share(particles)
        size = self.chunk_size(share, arguments)
        if size == share:
            return jax.vmap(particle)(*arguments)
        split = lambda x: x.reshape(-1, size, *x.shape[1:])  # noqa: E731
        chunks = jax.tree.map(split, arguments)
        results = jax.lax.map(lambda chunk: jax.vmap(particle)(*chunk), chunks)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), results)

    def add_up(self, values: Any) -> Any:
        """Sum over this device's particles, or over all particles if the reduction is `ordered`.

        Called inside the per-device function. `over_devices` turns the result, or sums of several results,
        into totals.

        Args:
            values: a tree whose leaves have this device's particles as their first axis.
        """
        if self.reduction == "ordered" and self.backend != "vmap":
            values = jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), values)
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), values)

    def over_devices(self, sums: Any) -> Any:
        """Sum the devices' partial sums by one all-reduce. Called inside the per-device function."""
        if self.reduction == "ordered" or self.backend == "vmap":
            return sums
        # One vector, so one all-reduce for any number of leaves.
        leaves, treedef = jax.tree.flatten(sums)
        total = jax.lax.psum(jnp.concatenate([jnp.ravel(x) for x in leaves]), AXIS)
        pieces = jnp.split(total, np.cumsum([x.size for x in leaves])[:-1])
        return treedef.unflatten([p.reshape(x.shape) for p, x in zip(pieces, leaves, strict=True)])

    def indices(self, particles: int) -> Array:
        """Return the indices of this device's particles. Called inside the per-device function."""
        share = self.share(particles)
        first = 0 if self.backend == "vmap" else jax.lax.axis_index(AXIS) * share
        return first + jnp.arange(share, dtype=jnp.int32)

    def compile(
        self, local: Callable[[Any, Any, Any], tuple[Any, Any, Any]], donated: tuple[int, ...] = (0, 1)
    ) -> Any:
        """Map a per-device function over the mesh.

        Args:
            local: takes a replicated tree, this device's particles, and replicated constants; returns the new
                replicated tree, the new particles, and a replicated result.
            donated: the arguments whose memory is used again.

        Returns:
            A jitted function of the same arguments for all particles.
        """
        if self.backend == "vmap":
            return jax.jit(local, donate_argnums=donated)
        if self.backend == "pmap":
            return _pmap(local, self.in_use)
        mapped = jax.shard_map(
            local,
            mesh=self._mesh(),
            in_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec()),
            out_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec()),
            # With the check, gradients with respect to replicated values are silently summed over devices.
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=donated)

    def place(self, replicated: Any, particles: Any) -> tuple[Any, Any]:
        """Place a replicated tree and all particles as the compiled function needs them.

        They are copied, because the compiled function donates its arguments, and the caller's arrays must
        stay valid.
        """
        return self._put(replicated, PartitionSpec()), self._put(particles, PartitionSpec(AXIS))

    def replicate(self, tree: Any) -> Any:
        """Place constants on every device once, instead of at every call of the compiled function.

        Args:
            tree: arrays that are the same in every process. One that occurs several times, such as the data
                of several tasks, is placed once.
        """
        leaves, treedef = jax.tree.flatten(tree)
        each = {id(leaf): leaf for leaf in leaves}
        placed = dict(zip(each, self._put(list(each.values()), PartitionSpec()), strict=True))
        return treedef.unflatten([placed[id(leaf)] for leaf in leaves])

    def load(self, arrays: Sequence[np.ndarray]) -> list[Array]:
        """Place arrays of the host, the same in every process, on every device; the host keeps no copy."""
        return self._placed(list(arrays), PartitionSpec())

    def _put(self, tree: Any, spec: PartitionSpec) -> Any:
        """Place copies."""
        return self._placed(jax.tree.map(lambda x: x.copy(), tree), spec)

    def _placed(self, tree: Any, spec: PartitionSpec) -> Any:
        if self.backend != "shard_map":
            return jax.tree.map(jnp.asarray, tree)
        sharding = NamedSharding(self._mesh(), spec)
        if jax.process_count() == 1:
            return jax.device_put(tree, sharding)
        return jax.tree.map(lambda x: _put_globally(x, sharding), tree)

    def _mesh(self) -> Mesh:
        each = self.in_use // jax.process_count()
        local: dict[int, list[Any]] = {}
        for device in jax.devices():
            local.setdefault(device.process_index, []).append(device)
        devices = np.array([device for owned in local.values() for device in owned[:each]])
        return Mesh(devices, (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def _put_globally(x: Array | np.ndarray, sharding: NamedSharding) -> Array:
    """Create an array on the devices of all processes from one that each process holds completely."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _put_globally(jax.random.key_data(x), sharding)
        return jax.jit(lambda data: jax.random.wrap_key_data(data, impl=jax.random.key_impl(x)))(data)
    whole = np.asarray(x)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def local_copy(tree: Any) -> Any:
    """Return a replicated tree on a single device of this process.

    Nothing is copied, so the result is valid until the tree is donated.
    """
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def first_particles(particles: Any, count: int) -> Any:
    """Return the first particles, on a single device.

    Args:
        particles: the particles of a member; their first device must belong to this process.
        count: the number of particles, at most as many as this process holds.
    """
    device = jax.local_devices()[0]

    def first(x: Array) -> Array:
        shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        return jnp.concatenate([jax.device_put(shard.data, device) for shard in shards])[:count]

    return jax.tree.map(first, particles)


def _pmap(local: Callable[[Any, Any, Any], tuple[Any, Any, Any]], devices: int) -> Callable[..., Any]:
    mapped = jax.pmap(
        local,
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=(None, 0, None),
        devices=jax.devices()[:devices],
    )

    def call(replicated: Any, particles: Any, constants: Any) -> tuple[Any, Any, Any]:
        split = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), particles)
        replicated, split, result = mapped(replicated, split, constants)
        return replicated, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), split), result

    return call

"""The number of processor cores that this process may use, which may be fewer than the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of cores that this process may use, at least 1.

    It is the minimum of its affinity (`taskset`, cpusets), the quota of its control groups (containers,
    versions 1 and 2; rounded down) and the cores that SLURM assigned to the task.

    Args:
        root: the folder that contains `/proc` and `/sys`.
        environment: the process's environment variables.
    """
    limits = [float(_by_affinity()), *_by_control_groups(root)]
    with suppress(KeyError, ValueError):
        limits.append(int(environment["SLURM_CPUS_PER_TASK"]))
    return max(1, int(min(limits)))


def _by_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _by_control_groups(root: Path) -> Iterator[float]:
    """Yield the quotas of the control groups of this process, in cores."""
    mounts = root / "sys" / "fs" / "cgroup"
    for controllers, group in _groups(root / "proc" / "self" / "cgroup"):
        if controllers and "cpu" not in controllers:
            continue
        # In a container, a group's path may be the one outside: then only the mount point itself exists.
        for place in (group, *group.parents):
            inside = place.relative_to("/")
            if controllers:
                yield from _version_1(mounts / "cpu" / inside)
            else:
                yield from _version_2(mounts / inside)


def _groups(file: Path) -> Iterator[tuple[list[str], PurePosixPath]]:
    """Yield the controllers and the path of each group; version 2 has one group, without controllers."""
    for line in _read(file).splitlines():
        _, controllers, path = (line + "::").split(":", 2)
        yield controllers.split(",") if controllers else [], PurePosixPath("/", path.rstrip(":"))


def _version_1(group: Path) -> Iterator[float]:
    yield from _quota(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _version_2(group: Path) -> Iterator[float]:
    quota, _, period = _read(group / "cpu.max").partition(" ")
    yield from _quota(quota, period)


def _quota(quota: str, period: str) -> Iterator[float]:
    """Yield a quota in cores, if there is one: "max" and -1 mean no quota."""
    with suppress(ValueError):
        if int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""

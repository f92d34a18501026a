"""The cores that a process may use are counted, not those of the machine."""

import os
import subprocess
import sys

import pytest

from meta_train import usable_cores
from meta_train.host import cores


def machine(root, files):
    """Write the files of a made-up machine."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "2:cpu,cpuacct:/docker/abc\n1:memory:/docker/abc\n"


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        ({}, {}, 8),
        # version 2
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, {}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, {}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, {}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, {}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, {}, 8),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "200000 100000\n"}, {}, 2),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "5000 1000\n"}, {}, 5),
        # a path of the host's, of which a container sees the mount alone
        ({"proc/self/cgroup": "0::/../x\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, {}, 4),
        # version 1
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "600000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            {},
            6,
        ),
        (
            {
                "proc/self/cgroup": V1 + "0::/\n",
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            {},
            8,
        ),
        # SLURM
        ({}, {"SLURM_CPUS_PER_TASK": "4"}, 4),
        ({}, {"SLURM_CPUS_PER_TASK": "64"}, 8),
        ({}, {"SLURM_CPUS_PER_TASK": "many"}, 8),
        # odd files
        ({"proc/self/cgroup": "nonsense\n\n::\n0::\n"}, {}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": ""}, {}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1000 0\n"}, {}, 8),
    ],
)
def test_every_limit_is_heeded(tmp_path, monkeypatch, files, environment, expected):
    monkeypatch.setattr(cores, "_by_affinity", lambda: 8)
    assert usable_cores(machine(tmp_path, files), environment) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity here")
def test_affinity_is_heeded():
    one = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, [{one}])\n"
        "from meta_train.host.cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"

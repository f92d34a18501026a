"""File systems that are soon full."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def small_disk(place, kilobytes):
    """Mount a small file system at a new directory, or skip the test where that isn't allowed."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems can't be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)

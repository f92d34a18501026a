"""Arrays in files that load at once: the form in which prepared data sets are kept.

A folder of `.npy` files and `contents.json`, with the arrays' checksums. It is made under another name and
renamed when it is whole, so an interruption leaves nothing that could be taken for it. Needs no JAX.
"""

import json
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .array_folders import CONTENTS, FORMAT, describe_arrays
from .prepared import DatasetNotPreparedError

Arrays = Mapping[str, np.ndarray]


def write_arrays(folder: Path, arrays: Arrays, about: Mapping[str, Any], form: Mapping[str, Any]) -> None:
    """Write arrays to a folder, in place of what it held.

    Several processes may do so at the same time: the folder of one of them remains.

    Args:
        folder: the folder.
        arrays: the arrays by name.
        about: anything in JSON's types that belongs to them.
        form: what the arrays were made from and how, in JSON's types; `read_arrays` compares it.

    Raises:
        OSError: if they can't be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, because a rename is atomic only within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        made, old = Path(scratch, "new"), Path(scratch, "old")
        made.mkdir()
        sums = {}
        for name, array in arrays.items():
            np.save(made / f"{name}.npy", array)
            sums[name] = _checksum(array)
        contents = {"format": FORMAT, "form": form, "about": about, "checksums": sums}
        (made / CONTENTS).write_text(json.dumps(contents, indent=1) + "\n")
        if folder.exists():
            folder.rename(old)
        try:
            made.rename(folder)
        except OSError:
            if not (folder / CONTENTS).is_file():  # otherwise another process was first
                raise


def read_arrays(folder: Path, form: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Map the arrays of a folder into memory, compare their checksums, and read what was written about them.

    Returns:
        None if there are none, or they were made in another form: they should be made again.

    Raises:
        DatasetNotPreparedError: if a file is damaged.
    """
    contents = describe_arrays(folder, form)
    if contents is None:
        return None
    arrays = {}
    for name, expected in contents["checksums"].items():
        try:
            # Mapped, because the device has a copy of its own.
            arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            intact = _checksum(arrays[name]) == expected
        except (OSError, ValueError, EOFError):
            intact = False
        if not intact:
            raise DatasetNotPreparedError(
                f"{folder / name}.npy is damaged: delete {folder} and prepare it again "
                f"(`lopt-data prepare {folder.name}`)."
            )
    return arrays, contents["about"]


def _checksum(array: np.ndarray) -> list[Any]:
    """Return an array's CRC-32, dtype and shape."""
    return [zlib.crc32(np.ascontiguousarray(array).data), str(array.dtype), list(array.shape)]

"""The folders of arrays that prepared data sets are kept in: where they are, and how big. Needs no numpy."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .catalogue import SPLITS, Split, find_entry

FORMAT = 1
"""The version of the folders' form."""
CONTENTS = "contents.json"
"""The file that says what is in a folder."""


def folder_of(name: str, data_dir: Path) -> Path:
    """Return the folder of a data set's arrays."""
    return data_dir / "lopt" / name


def describe_arrays(folder: Path, form: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what was written about the arrays of a folder; None without arrays of that form."""
    try:
        contents = json.loads((folder / CONTENTS).read_text())
        current = contents["format"] == FORMAT and contents["form"] == json.loads(json.dumps(form))
        return contents if current else None
    except (OSError, ValueError, TypeError, LookupError):
        return None


def kept_counts(name: str, data_dir: Path) -> dict[Split, int] | None:
    """Return the number of examples, or of symbols, by split, that a data set's files hold; None without."""
    entry = find_entry(name)
    contents = describe_arrays(folder_of(name, data_dir), entry.form)
    if contents is None:
        return None
    array = "symbols" if entry.kind == "text" else "labels"
    return {split: contents["checksums"][f"{split}.{array}"][2][0] for split in SPLITS}


def remove_folder(folder: Path) -> int:
    """Delete a folder, of which an interruption leaves nothing that could be taken for it.

    Returns:
        The bytes that it took; 0 if it did not exist.
    """
    if not folder.exists():
        return 0
    size = size_of(folder)
    # Renamed first, so that half of it never has its name.
    doomed = Path(tempfile.mkdtemp(prefix=".removed-", dir=folder.parent))
    os.rename(folder, doomed / folder.name)
    shutil.rmtree(doomed)
    return size


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

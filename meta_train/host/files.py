"""Files of a run: written whole, read with a bound, and quoted on one line."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

_MOST_BYTES = 2**22
_MOST_SHOWN = 1000


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it is never seen half written, though the process die or the disk be full."""
    partial = path.with_suffix(".tmp")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def read_whole(path: Path) -> str:
    """Read a small file, unless it is a pipe, a device or the like, which could block or never end.

    Raises:
        OSError: when it can't be read, is no regular file, or is not small.
        ValueError: when it is not text.
    """
    if not path.is_file():
        there = errno.EINVAL if os.path.lexists(path) else errno.ENOENT
        raise OSError(there, os.strerror(there))
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content.decode()


def belongs_to_run(run_dir: Path, path: Path) -> bool:
    """Tell whether a path is a run's directory, or in a part of it that others write, however it is spelt."""
    run, real = (Path(os.path.realpath(one)) for one in (run_dir, path))
    if not real.is_relative_to(run):
        return False
    inside = real.relative_to(run).parts
    return not inside or inside[0] in ("checkpoints", "damaged", "start", "wandb")


def one_line(text: object) -> str:
    """Return text without what a terminal would obey, and with the middle of what is very long left out."""
    whole = str(text)
    if len(whole) > _MOST_SHOWN:
        whole = f"{whole[: _MOST_SHOWN // 2]} ... {whole[-_MOST_SHOWN // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)

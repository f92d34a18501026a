"""Safe reads of untrusted files, and replacement of several files together or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

_NEW, _OLD = ".tmp", ".old"
_PORTION = 2**20


def read_regular(path: Path, most: int) -> bytes:
    """Read a file, unless it is a pipe, a device or the like, which could block or never end.

    Args:
        path: the file; links are followed.
        most: the largest allowed size in bytes.

    Raises:
        OSError: if it can't be read, is not a regular file, or is larger.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"):  # not every system has them
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            kind = "a directory" if stat.S_ISDIR(about.st_mode) else "a device or a pipe"
            raise OSError(errno.EINVAL, f"it is {kind}, not a regular file")
        content = bytearray()
        if about.st_size <= most:
            with open(descriptor, "rb", closefd=False) as file:
                while len(content) <= most and (portion := file.read(_PORTION)):
                    content += portion
        size = max(about.st_size, len(content))  # it may grow, and some file systems report no size
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and may have {most:,}")
        return bytes(content)
    finally:
        os.close(descriptor)


def replace_together(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Replace files of a directory: afterwards, either all are new or all are old.

    All are on the disk before the first is replaced, and replaced files are restored if a later one can't be
    replaced. Only a process that dies between two renames leaves a mixture, which checksums must detect.

    Args:
        directory: an existing directory.
        contents: the new contents by file name. The last file should hold checksums of the others.

    Raises:
        OSError: if they can't be written; the old files are then in place.
    """
    replaced: list[str] = []
    try:
        for name, content in contents.items():
            _write(directory / (name + _NEW), content)
        for name in contents:
            _keep(directory / name, directory / (name + _OLD))
        for name in contents:
            os.replace(directory / (name + _NEW), directory / name)
            replaced.append(name)
    except BaseException:
        for name in reversed(replaced):
            _put_back(directory / (name + _OLD), directory / name)
        raise
    finally:
        for name in leftovers(contents):
            with suppress(OSError):
                os.unlink(directory / name)
    _sync_directory(directory)


def leftovers(names: Iterable[str]) -> set[str]:
    """Return the names of files that may remain if a process dies while it replaces `names`."""
    return {name + ending for name in names for ending in (_NEW, _OLD)}


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with path.open("xb") as file:  # x: never through an existing link
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _keep(path: Path, kept: Path) -> None:
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except FileNotFoundError:
        return
    except OSError:  # a file system without hard links
        shutil.copyfile(path, kept)


def _put_back(kept: Path, path: Path) -> None:
    with suppress(OSError):  # the first error is the one to report
        if kept.exists():
            os.replace(kept, path)
        else:
            path.unlink()


def _sync_directory(directory: Path) -> None:
    with suppress(OSError):  # not supported by every system
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

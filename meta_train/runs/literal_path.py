"""A path that orbax takes as it is spelt: brackets and stars in it are no pattern, `/s3` is no bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from etils import epath
from etils.epath.gpath import PosixGPath


@epath.register_path_cls
class LiteralPath(PosixGPath):
    """A local path for orbax. Its own `glob` takes the path it starts from for a part of the pattern."""

    @property
    def _uri_scheme(self) -> None:
        """Be none: /gs, /s3, /az and /hf are folders here, and would be the addresses of buckets."""

    def glob(self, pattern: str) -> Iterator[Self]:
        """Yield what matches a pattern below this path."""
        for found in Path(self).glob(pattern):
            yield type(self)(found)


def literal(path: Path) -> LiteralPath:
    """Return a path as orbax has to be given it: absolute, since it fails on others in the background."""
    return LiteralPath(path.resolve())

"""Paths that orbax takes literally: brackets and stars are not patterns, and `/s3` is not a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from etils import epath
from etils.epath.gpath import PosixGPath


@epath.register_path_cls
class LiteralPath(PosixGPath):
    """A local path for orbax, whose own `glob` would treat the base path as a part of the pattern."""

    @property
    def _uri_scheme(self) -> None:
        """Return None: /gs, /s3, /az and /hf are folders here, not addresses of buckets."""

    def glob(self, pattern: str) -> Iterator[Self]:
        """Yield the paths that match a pattern below this path."""
        for found in Path(self).glob(pattern):
            yield type(self)(found)


def literal(path: Path) -> LiteralPath:
    """Return a path in the form for orbax: absolute, because it fails on relative ones in the background."""
    return LiteralPath(path.resolve())

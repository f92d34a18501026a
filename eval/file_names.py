"""Safe file names for arbitrary names."""

from __future__ import annotations

import hashlib
import re

_MOST = 100
"""Number of characters of a name that are kept; file systems allow 255 bytes, including the extension."""
_DIGEST = 8


def file_stem(name: str) -> str:
    """Return a file name, without extension, that is valid on any system.

    Lower-case letters, digits, dots, dashes and underscores stay unchanged. A name with other characters,
    with a leading dot or dash, or longer than 100 characters gets a digest appended, so that different names
    give different files even on a file system that ignores case.

    Args:
        name: any text.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-")[:_MOST]
    if safe == name and name and name == name.lower():
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_DIGEST]
    return f"{safe}-{digest}" if safe else digest

"""File names made from names that anybody may have chosen."""

from __future__ import annotations

import hashlib
import re

_MOST = 100
"""Characters of a name that are kept; file systems take 255 bytes, ending and all."""
_DIGEST = 8


def file_stem(name: str) -> str:
    """Return a name as a file may be called on any system, without an ending.

    Lower-case letters, digits, dots, dashes and underscores stay as they are. A name with anything else, with
    a leading dot or dash, or longer than 100 characters gets a digest of itself, so that different names
    give different files, even where the file system ignores case.

    Args:
        name: any text.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-")[:_MOST]
    if safe == name and name and name == name.lower():
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_DIGEST]
    return f"{safe}-{digest}" if safe else digest

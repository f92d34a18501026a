"""Escapes external text for one line of a terminal."""

from __future__ import annotations

_MOST = 200


def plain(text: object, most: int = _MOST) -> str:
    """Return text on one line, with control characters escaped and the middle of long text left out.

    Args:
        text: text from a file or a user; it may hold escape sequences that a terminal would execute.
        most: the number of characters to keep.
    """
    whole = str(text)
    if len(whole) > most:
        whole = f"{whole[: most // 2]} ... {whole[len(whole) - most // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)


def quoted(value: object) -> str:
    """Return a value's `repr`, made safe by `plain`."""
    return plain(repr(value))


def reason(error: BaseException) -> str:
    """Return the message of an error; for an OSError, without its number and file."""
    if isinstance(error, OSError) and error.strerror:
        return plain(error.strerror)
    return plain(" ".join(str(error).split()) or type(error).__name__)

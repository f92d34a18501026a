"""Text of a file or a user, made fit for one line of a terminal."""

from __future__ import annotations

_MOST = 200


def plain(text: object, most: int = _MOST) -> str:
    """Return text on one line, with control characters escaped and the middle of what is long left out.

    Args:
        text: what a file or a user said: it may hold escape sequences, which a terminal would obey.
        most: characters to keep.
    """
    whole = str(text)
    if len(whole) > most:
        whole = f"{whole[: most // 2]} ... {whole[len(whole) - most // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)


def quoted(value: object) -> str:
    """Return a value as Python writes it, by the rules of `plain`."""
    return plain(repr(value))


def reason(error: BaseException) -> str:
    """Return what an error says, in a few words: a system's error without its number and its file."""
    if isinstance(error, OSError) and error.strerror:
        return plain(error.strerror)
    return plain(" ".join(str(error).split()) or type(error).__name__)

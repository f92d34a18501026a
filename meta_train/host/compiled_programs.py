"""Compiled programs outlive the process: a command's second start is a quick one."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from .home import home


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in JAX_COMPILATION_CACHE_DIR, or else in ~/.cache/lopt/jax.

    Nothing is kept where that is no directory that can be written: a start is slow then, and nothing else.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    cache = _own_cache() if given is None else given
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache))


def _own_cache() -> Path | None:
    user = home()
    if user is None:
        return None
    cache = user / ".cache" / "lopt" / "jax"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return cache if os.access(cache, os.W_OK) else None

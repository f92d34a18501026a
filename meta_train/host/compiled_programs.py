"""The persistent compilation cache, which makes a command's second start quick."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from .home import home

_SHORT = 0.1
"""Seconds of compilation that are worth a file; with JAX's default of 1, dozens of programs are not kept."""


def keep_compiled_programs() -> None:
    """Let JAX cache compiled programs in JAX_COMPILATION_CACHE_DIR, or else in ~/.cache/lopt/jax.

    If that is not a writable directory, nothing is cached, and starts are slow.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    cache = _own_cache() if given is None else given
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _SHORT)


def compiled_programs() -> str | None:
    """Return the directory of compiled programs; None if nothing is cached."""
    return getattr(jax.config, "jax_compilation_cache_dir", None)


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

"""Compiled programs outlive the process: a command's second start is a quick one."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in JAX_COMPILATION_CACHE_DIR, or else in ~/.cache/lopt/jax."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "lopt" / "jax"))
    jax.config.update("jax_compilation_cache_dir", cache)

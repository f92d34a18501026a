"""How long the meta-step of a mixture takes to start: `scripts/benchmark.py mixture`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TASKS = (
    "digits-mlp-family",
    "digits-conv",
    "digits-autoencoder",
    "char-mlp-family",
    "char-gru-family",
    "char-transformer",
    "rescaled-procedural-mlp-family",
    "friedman-mlp-family",
    "teacher-mlp-family",
    "wine-mlp",
    "softmax-regression-family",
    "quadratic",
)
"""Twelve tasks of twelve shapes."""


def run(optimizer: str, json_file: Path | None) -> int:
    """Start the mixture with an empty cache, then with a full one, a process each; print the seconds.

    Args:
        optimizer: an architecture.
        json_file: where the results are written, too.
    """
    results = []
    with tempfile.TemporaryDirectory() as cache:
        for name in ("empty cache", "full cache"):
            command = [sys.executable, __file__, optimizer]
            environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            results.append({"start": name} | json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(results[-1]))
    if json_file:
        json_file.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def time_start(optimizer: str) -> dict[str, Any]:
    """Return the seconds of a start in this process, by the clock and of the processor."""
    import jax
    import jax.numpy as jnp
    import optax

    import lopt
    import tasks
    from meta_train import PES, ConstantHorizon, Devices, InnerTraining, Member, Mixture, usable_cores
    from meta_train import init_run, make_meta_step  # isort: skip

    found: dict[str, Any] = {"optimizer": optimizer}

    def timed(name: str, began: tuple[float, float]) -> None:
        found[f"{name}_s"] = round(time.perf_counter() - began[0], 4)
        found[f"{name}_cpu_s"] = round(time.process_time() - began[1], 4)

    theta = lopt.create(optimizer, jax.random.key(0))
    estimator, outer = PES(horizon=ConstantHorizon(200), window=20), optax.adam(1e-3)
    dynamics = {name: InnerTraining(tasks.build(name)) for name in TASKS}
    mixture = Mixture(tuple(Member(name, 2 * usable_cores()) for name in TASKS), Devices(usable_cores()))
    began = time.perf_counter(), time.process_time()
    state, particles = init_run(dynamics, estimator, outer, mixture, theta, jax.random.key(1))
    constants = mixture.devices.replicate(dynamics), jnp.asarray(1, jnp.int32)
    timed("particles", began)
    step = make_meta_step(estimator, outer, mixture)
    for name in ("first_meta_step", "second_meta_step"):
        began = time.perf_counter(), time.process_time()
        state, particles, metrics = step(state, particles, constants)
        jax.block_until_ready((state, particles, metrics))
        timed(name, began)
    found["theta_norm"] = float(metrics["theta_norm"])
    return found


def main() -> None:
    """Time a start with a device a core."""
    import jax

    from meta_train import keep_compiled_programs, usable_cores

    jax.config.update("jax_num_cpu_devices", usable_cores())
    keep_compiled_programs()
    print(json.dumps(time_start(sys.argv[1])))


if __name__ == "__main__":
    main()

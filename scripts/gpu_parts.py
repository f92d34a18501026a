"""The parts of `check_gpu.py` that are neither grids nor tests.

`gpu_parts.py JSON` runs the one that its argument names, and prints JSON.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from meta_step_timing import Case, MetaStep, make_dynamics, random_images

import lopt
import tasks
from meta_train import Options, Record, RunDirectory, Trainer, provenance, usable_cores
from tasks import ImageMLP

QUERY = "name,driver_version,memory.total,power.limit"


def environment() -> dict[str, Any]:
    """Return the card, its driver, and versions."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
    cards: list[str] = []
    if shutil.which(command[0]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        cards = done.stdout.strip().splitlines()
    about = provenance("scripts/check_gpu.py")
    return about | {
        "backend": jax.default_backend(),
        "card": jax.devices()[0].device_kind,
        "cards": cards,
        "device_count": jax.device_count(),
        "cores": usable_cores(),
    }


def bandwidth(megabytes: int, side: int) -> dict[str, Any]:
    """Measure reading and writing memory, and matrix products in float32.

    Args:
        megabytes: size of the array that is read, and of the one that is written.
        side: the matrices' side.

    Returns:
        GB/s, counting bytes read and written; TFLOP/s and the relative error of a product, by default and at
        the highest precision. By default a GPU rounds the factors to 10 bits of mantissa (TF32).
    """
    x = jnp.zeros(megabytes * 250_000, jnp.float32)
    add = jax.jit(lambda x: x + 1)
    result: dict[str, Any] = {"copy_gb_per_s": 2 * x.nbytes / 1e9 / _seconds(add, x)}
    a = np.random.default_rng(0).standard_normal((side, side), np.float32)
    exact = a[:64].astype(np.float64) @ a.astype(np.float64)
    for precision in ("default", "highest"):
        product = jax.jit(lambda a, precision=precision: jnp.matmul(a, a, precision=precision))
        got = np.asarray(product(jnp.asarray(a)))[:64]
        result[f"{precision}_tflop_per_s"] = 2 * side**3 / 1e12 / _seconds(product, jnp.asarray(a))
        result[f"{precision}_error"] = float(np.linalg.norm(got - exact) / np.linalg.norm(exact))
    return result


def _seconds(function: Any, argument: Any, calls: int = 10, repeats: int = 7) -> float:
    """Return the median seconds of a call, of calls that are dispatched together."""
    jax.block_until_ready(function(argument))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready([function(argument) for _ in range(calls)][-1])
        times.append((time.perf_counter() - began) / calls)
    return statistics.median(times)


def agreement(steps: int) -> dict[str, Any]:
    """Train a perceptron with AdafactorMLP here and on the CPU; return how much the losses differ.

    Returns:
        The largest relative difference, at the default and at the highest precision of products.
    """
    case = Case("mlp64", 1, steps)

    def losses(device: Any, precision: str) -> np.ndarray:
        with jax.default_device(device), jax.default_matmul_precision(precision):
            theta, key = lopt.create(case.optimizer, jax.random.key(0)), jax.random.key(1)

            def train(dynamics: Any, theta: Any, key: Any) -> Any:
                state = dynamics.init(theta, jnp.asarray(steps, jnp.int32), key)
                keys = jax.random.split(key, steps)
                return jax.lax.scan(lambda s, key: dynamics.step(theta, s, key), state, keys)[1]

            return np.asarray(jax.jit(train)(make_dynamics(case), theta, key))

    reference = losses(jax.devices("cpu")[0], "highest")
    result: dict[str, Any] = {
        "steps": steps,
        "first_loss": float(reference[0]),
        "last_loss": float(reference[-1]),
    }
    for precision in ("default", "highest"):
        found = losses(jax.devices()[0], precision)
        result[f"{precision}_difference"] = float(np.max(np.abs(found / reference - 1)))
    return result


def session(directory: str, particles: int, steps: int, until: int) -> dict[str, Any]:
    """Start or resume a run in its directory, and stop it at a meta-step.

    Returns:
        A hash of theta, the records as text without their times, and a checkpoint's size.
    """
    tasks.register("random-images")(lambda: ImageMLP(random_images(8)))
    options = Options.of(
        task=("random-images",),
        optimizer="adafactor-mlp",
        horizon="constant",
        horizon_high=100,
        particles=particles,
        steps=steps,
        steps_per_call=2,
        validate_every=steps,
        validation_episodes=4,
        reference_rates=0,
        hysteresis_particles=0,
    )
    run, files = options.run(), RunDirectory(Path(directory))
    files.open(run, "scripts/check_gpu.py")
    trainer = Trainer(run, files)
    records = _untimed(trainer.records(lambda: trainer.meta_step >= until))
    trainer.close()
    saved = max(files.checkpoints.iterdir(), key=lambda step: step.stat().st_mtime)
    size = sum(file.stat().st_size for file in saved.rglob("*") if file.is_file())
    theta = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(jax.device_get(trainer.theta)))
    digest = hashlib.sha256(theta).hexdigest()
    return {"theta": digest, "records": records, "checkpoint_mb": size / 1e6}


def _untimed(records: Iterable[Record]) -> list[str]:
    """Return records as text, in which nan is equal to itself, without their times."""
    return [
        repr((record.meta_step, [(k, v) for k, v in record.values.items() if not k.startswith("time/")]))
        for record in records
    ]


def devices(particles: int, window: int, seconds: float) -> dict[str, Any]:
    """Run the meta-step of one population on one device, and on all.

    Returns:
        Inner steps per second by number of devices; and the largest difference of theta after three
        meta-steps, relative to theta's largest entry.
    """
    count = jax.device_count()
    rates, thetas = {}, []
    for used in (1, count):
        case = Case("mlp64", particles, window, devices=used)
        built = MetaStep.of(case)
        built.compile()
        built.call(3)
        theta = jax.device_get(built.state.theta)
        thetas.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(theta)]))
        rates[str(used)] = case.inner_steps / statistics.median(built.repeat(1, seconds))
    apart = np.max(np.abs(thetas[0] - thetas[1])) / np.max(np.abs(thetas[0]))
    return {"devices": count, "inner_steps_per_s": rates, "theta_difference": float(apart)}


PARTS = {part.__name__: part for part in (environment, bandwidth, agreement, session, devices)}


def main() -> None:
    """Run the part that the JSON argument names, with its numbers."""
    arguments = json.loads(sys.argv[1])
    jax.config.update("jax_num_cpu_devices", arguments.pop("cpu_devices", 1))
    print(json.dumps(PARTS[arguments.pop("part")](**arguments)))


if __name__ == "__main__":
    main()

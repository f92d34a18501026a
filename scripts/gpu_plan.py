"""The sizes of `check_gpu.py`: on a GPU, on a CPU, and the smallest."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parents[1] / "tests"
PARTS = ("bandwidth", "grid", "resume", "tests", "agreement", "devices", "updates")
"""The parts that can be chosen."""
TESTS = (
    "test_estimator_contract",
    "test_resume",
    "test_export",
    "test_publish",
    "test_meta_step",
    "test_optimizer_contract",
    "test_update_programs",
    "test_pes_unbiased",
    "test_checkpoints",
)
"""Files whose tests matter on a device, in the order of worth."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is run, with which numbers; the fields named for parts hold the arguments of `gpu_parts.py`."""

    cases: tuple[dict[str, Any], ...]
    """Cases of the meta-step, fields of `meta_step_timing.Case`, in the order of worth."""
    first_cases: int
    """Number of cases that are compiled before anything else."""
    step_cases: tuple[dict[str, Any], ...]
    """Cases whose inner step is analysed, one for each size of the network and of the batch."""
    updates: tuple[dict[str, str], ...]
    """Optimizers and parameter trees, in the order of worth."""
    tests: tuple[str, ...]
    """Arguments of pytest."""
    tests_environment: dict[str, str]
    bandwidth: dict[str, Any]
    agreement: dict[str, Any]
    resume: dict[str, Any]
    resume_environments: dict[str, dict[str, str]]
    """Variables under which a run is resumed, by the name of the result."""
    devices: dict[str, Any]
    """Empty if there is only one device."""
    seconds: float
    """Time to repeat each timing for."""
    workers: int
    """Number of processes at once, where nothing is timed."""


def plan(backend: str, devices: int, cores: int, smallest: bool) -> Plan:
    """Return the plan for a machine.

    Args:
        backend: JAX's default backend.
        devices: number of devices.
        cores: number of usable processor cores.
        smallest: take the smallest sizes that there are.
    """
    if backend == "cpu":
        return _on_cpu(cores, smallest)
    sizes = (64,) if smallest else (8192, 64, 2048, 512)
    shapes = ((4, 128),) if smallest else ((4, 128), (8, 128), (4, 64), (8, 64))
    rules = ("adafactor-mlp", "star", "small", "muon", "tiny-lstm")
    trees = ("transformer", "gpt2", "mlp")
    updates = tuple({"optimizer": rule, "tree": tree} for tree in trees for rule in rules)
    return Plan(
        cases=tuple(_case(size, 50, *shape) for shape in shapes for size in sizes),
        first_cases=len(sizes),
        step_cases=tuple(_case(64, 50, *shape) for shape in shapes),
        updates=updates[: 1 if smallest else None],
        tests=_tests(TESTS[:1] if smallest else TESTS, max(1, cores // 4)),
        # Tests compare with tolerances of float32, and a GPU multiplies in TF32 by default.
        tests_environment={
            "JAX_PLATFORMS": "cuda",
            "JAX_DEFAULT_MATMUL_PRECISION": "highest",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "false",
        },
        bandwidth={"megabytes": 1000, "side": 8192},
        agreement={"steps": 20},
        resume={"particles": (16 if smallest else 1024) * devices, "steps": 8},
        # Whether the second holds where the first doesn't tells whether the choice of kernels is to blame.
        resume_environments={
            "resume": {},
            "resume_deterministic": {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"},
        },
        devices={"particles": 2048 * devices, "window": 50, "seconds": 3.0} if devices > 1 else {},
        seconds=0.5 if smallest else 2.0,
        workers=max(2, cores),
    )


def _on_cpu(cores: int, smallest: bool) -> Plan:
    window = 2 if smallest else 50
    return Plan(
        cases=(_case(2 if smallest else 16, window, 4, 128),),
        first_cases=1,
        step_cases=(_case(2, window, 4, 128),),
        updates=({"optimizer": "learnable-adam" if smallest else "adafactor-mlp", "tree": "tiny"},),
        tests=_tests(
            ("test_optimizer_contract", "-k", "learnable-adam and empty_tree") if smallest else TESTS[1:2], 1
        ),
        tests_environment={"JAX_PLATFORMS": "cpu"},
        bandwidth={"megabytes": 8 if smallest else 256, "side": 64 if smallest else 1024},
        agreement={"steps": 2 if smallest else 20},
        resume={"particles": 2, "steps": 4},
        resume_environments={"resume": {}},
        devices={"cpu_devices": 2, "particles": 2, "window": 2, "seconds": 0.1},
        seconds=0.1 if smallest else 2.0,
        workers=max(1, cores),
    )


def _case(particles: int, window: int, hidden: int, batch: int) -> dict[str, Any]:
    size = {"particles": particles, "window": window, "hidden": hidden, "batch": batch}
    return {"task": "mlp64", **size, "devices": 1}


def _tests(files: tuple[str, ...], processes: int) -> tuple[str, ...]:
    paths = [str(_TESTS / f"{name}.py") if name.startswith("test_") else name for name in files]
    spread = ["-n", str(processes), "--dist", "loadfile"] if processes > 1 and find_spec("xdist") else []
    return ("-p", "outcome_lines", "-p", "no:cacheprovider", "-q", "-m", "not slow", *spread, *paths)

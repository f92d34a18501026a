#!/usr/bin/env python
"""Time the meta-step: `scripts/benchmark.py meta-step [--json FILE]`, and checkpoints: `... checkpoints`.

Measure the cost of an update of exported optimizers relative to Adam's: `scripts/benchmark.py optimizers`.
Time tuning of hyperparameters against single trainings: `scripts/benchmark.py tune`.
Time the start of a mixture of twelve tasks, without and with a cache: `scripts/benchmark.py mixture`.
Time a run on streamed data against one on data on the device: `scripts/benchmark.py streaming`.

Each case runs in a separate process, so that its peak memory can be measured. Inner steps per second are
2 x particles x window / seconds per meta-step, medians over repeats of ten meta-steps.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TASKS = ("mlp64", "mlp784")
META_STEPS = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "optimizers":
        import optimizer_costs

        return optimizer_costs.run(
            arguments.optimizers, arguments.trees, arguments.seconds, arguments.limit, arguments.json
        )
    if arguments.command == "tune":
        import tuning_speed

        from meta_train import usable_cores

        devices = arguments.devices or usable_cores()
        return tuning_speed.run(
            arguments.particles, arguments.batches, devices, arguments.seconds, arguments.json
        )
    if arguments.command == "mixture":
        import mixture_start

        return mixture_start.run(arguments.optimizer, arguments.json)
    if arguments.command == "streaming":
        import streaming_speed

        from meta_train import usable_cores

        devices = arguments.devices or usable_cores()
        sizes = arguments.side, arguments.rows, arguments.every, arguments.examples
        return streaming_speed.run(*sizes, devices, arguments.seconds, arguments.json)
    if arguments.command == "checkpoints":
        print(json.dumps(time_checkpoints(arguments.preset, arguments.rounds, arguments.calls), indent=1))
        return 0
    if arguments.command == "one":
        print(json.dumps(time_case(**arguments.case)))
        return 0
    return run_grid(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    meta_step = commands.add_parser("meta-step", help="time the meta-step over a grid of cases")
    meta_step.add_argument("--optimizers", nargs="+", default=["adafactor-mlp"])
    meta_step.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    meta_step.add_argument("--particles", nargs="+", type=int, default=[4, 16, 64])
    meta_step.add_argument("--windows", nargs="+", type=int, default=[10, 50])
    meta_step.add_argument("--devices", type=int, help="default: one per core")
    meta_step.add_argument("--chunk", type=int, help="particles that a device runs at once; default: all")
    meta_step.add_argument("--seconds", type=float, default=8.0, help="time to repeat each case for")
    meta_step.add_argument("--json", type=Path, help="write the results here too")
    one = commands.add_parser("one", help="time a single case and print JSON (used by meta-step)")
    one.add_argument("case", type=json.loads)
    saves = commands.add_parser("checkpoints", help="measure the cost of a checkpoint")
    saves.add_argument("--preset", default="demo")
    saves.add_argument("--rounds", type=int, default=5, help="number of rounds with and without saving")
    saves.add_argument("--calls", type=int, default=10, help="calls of the meta-step in a round")
    updates = commands.add_parser("optimizers", help="compare updates of exported optimizers with Adam's")
    updates.add_argument("--optimizers", nargs="+", metavar="NAME", help="default: optax's and lopt's")
    updates.add_argument("--trees", nargs="+", metavar="NAME", help="default: all except tiny")
    updates.add_argument("--seconds", type=float, default=5.0, help="time to repeat each case for")
    updates.add_argument("--limit", type=float, default=1800.0, help="seconds after which a case is given up")
    updates.add_argument("--json", type=Path, help="write the results here too")
    mixture = commands.add_parser("mixture", help="time the start of a mixture of twelve tasks")
    mixture.add_argument("--optimizer", default="star")
    mixture.add_argument("--json", type=Path, help="write the results here too")
    tune = commands.add_parser("tune", help="compare tuning with a loop of single trainings")
    tune.add_argument("--particles", type=int, default=512, help="antithetic pairs of trainings")
    tune.add_argument("--batches", nargs="+", type=int, default=[128, 16], help="batch sizes")
    tune.add_argument("--devices", type=int, help="default: one per core")
    tune.add_argument("--seconds", type=float, default=10.0, help="time to repeat each case for")
    tune.add_argument("--json", type=Path, help="write the results here too")
    streaming = commands.add_parser("streaming", help="compare streamed data with data on the device")
    streaming.add_argument("--side", type=int, default=32, help="height and width of the images, in pixels")
    streaming.add_argument("--rows", type=int, default=2048, help="images in the pool")
    streaming.add_argument("--every", type=int, default=10, help="meta-steps until the next turn")
    streaming.add_argument("--examples", type=int, default=8192, help="images in the data set")
    streaming.add_argument("--devices", type=int, help="default: one per core")
    streaming.add_argument("--seconds", type=float, default=60.0, help="time to repeat each run for")
    streaming.add_argument("--json", type=Path, help="write the results here too")
    return parser


def run_grid(arguments: argparse.Namespace) -> int:
    """Time every case in a fresh process, and print a table."""
    from rich.console import Console
    from rich.table import Table

    from meta_train import usable_cores

    devices = arguments.devices or usable_cores()
    columns = ("optimizer", "task", "particles", "window", "compile s", "ms / meta-step", "inner steps / s")
    table = Table(*columns, "resident MB", "temporaries MB", title=f"{devices} devices")
    results = []
    for optimizer in arguments.optimizers:
        for task in arguments.tasks:
            for particles in arguments.particles:
                for window in arguments.windows:
                    case = {
                        "optimizer": optimizer,
                        "task": task,
                        "particles": particles,
                        "window": window,
                        "devices": devices,
                        "chunk": arguments.chunk,
                        "seconds": arguments.seconds,
                    }
                    command = [sys.executable, __file__, "one", json.dumps(case)]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        print(done.stderr, file=sys.stderr)
                        return 1
                    result = case | json.loads(done.stdout.splitlines()[-1])
                    results.append(result)
                    table.add_row(*_row(result))
                    print(" ".join(_row(result)), file=sys.stderr)
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _row(result: dict) -> list[str]:
    return [
        result["optimizer"],
        result["task"],
        str(result["particles"]),
        str(result["window"]),
        f"{result['compile_s']:.1f}",
        f"{result['meta_step_s'] * 1e3:.1f}",
        f"{result['inner_steps_per_s']:,.0f}",
        f"{result['resident_mb']:.0f}",
        f"{result['temporaries_mb']:.1f}",
    ]


def time_case(
    optimizer: str, task: str, particles: int, window: int, devices: int, chunk: int | None, seconds: float
) -> dict[str, float]:
    """Time one case in this process."""
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    from meta_step_timing import Case, MetaStep

    case = Case(task, particles, window, optimizer, devices=devices, chunk=chunk)
    step = MetaStep.of(case)
    compile_s = step.compile()
    times = step.repeat(META_STEPS, seconds)
    meta_step_s = statistics.median(times) / META_STEPS
    return {
        "compile_s": compile_s,
        "meta_step_s": meta_step_s,
        "inner_steps_per_s": case.inner_steps / meta_step_s,
        "best_inner_steps_per_s": case.inner_steps * META_STEPS / min(times),
        "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "temporaries_mb": step.function.memory_analysis().temp_size_in_bytes / 1e6,
    }


def time_checkpoints(preset: str, rounds: int, calls: int) -> dict[str, float]:
    """Alternate a run that saves after each call of the meta-step with the same run without saving.

    The difference is the cost of a save: the time it blocks training plus what its background work takes from
    it.
    """
    import tempfile

    import jax

    from meta_train import RunDirectory, Trainer, get_preset, usable_cores

    jax.config.update("jax_num_cpu_devices", usable_cores())

    endless = {"steps": 10**9, "validate_every": 10**9, "reference_rates": 0, "hysteresis_particles": 0}
    run = get_preset(preset).replace(**endless).run()
    with tempfile.TemporaryDirectory() as place:
        runs = {}
        for every in (0, run.loop.steps_per_call):
            chosen = run.replace(checkpoint_every=every, checkpoint_seconds=0)
            runs[every] = Trainer(chosen, RunDirectory(Path(place, str(every)))).records()
            for _ in range(3):  # the initial validation, the first call, which compiles, and another one
                next(runs[every])
        seconds: dict[int, list[float]] = {every: [] for every in runs}
        for _ in range(rounds):
            for every, records in runs.items():
                began = time.perf_counter()
                for _ in range(calls):
                    next(records)
                seconds[every].append(time.perf_counter() - began)
    without, with_saves = (statistics.median(taken) / calls for taken in seconds.values())
    return {
        "call_s": without,
        "call_with_save_s": with_saves,
        "save_s": with_saves - without,
        "share_at_default_cadence": (with_saves - without) / run.loop.checkpoint_seconds,
    }


if __name__ == "__main__":
    sys.exit(main())

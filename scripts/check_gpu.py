#!/usr/bin/env python
"""Check lopt on this machine's GPUs: `scripts/check_gpu.py --out DIR`, for at most eight minutes.

Measures memory bandwidth, the meta-step over a grid of populations, and updates of exported optimizers
beside optax.adam; checks that results agree with the CPU's and that a stopped run resumes bitwise; and runs
the tests that matter on a device. Each part is a process of its own with a time limit. DIR gets
`check-gpu.json`, which is rewritten after each part, the tables in `check-gpu.md`, and `check-gpu.log` with
what went wrong.

What needs no quiet machine (compilation, checks, tests) runs first, in parallel; timings follow, one by one.
Without a GPU it says so, and does the same with small sizes on the CPU, in about a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gpu_plan
from gpu_report import markdown
from separate_process import run, start

HERE = Path(__file__).resolve().parent
TOGETHER = 0.55
"""Share of the time that may pass before timings begin."""
SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""For processes that share a GPU: by default each would take three quarters of its memory."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if anything failed, and 0 if parts were only not reached."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/check-gpu"), help="directory of the results")
    parser.add_argument("--minutes", type=float, default=8.0, help="bound on the whole (8)")
    parser.add_argument("--parts", nargs="+", choices=gpu_plan.PARTS, default=gpu_plan.PARTS, metavar="PART",
                        help=f"some of {', '.join(gpu_plan.PARTS)}")  # fmt: skip
    parser.add_argument(
        "--smallest", action="store_true", help="the smallest sizes, to try the script itself"
    )
    arguments = parser.parse_args(argv)
    # lopt need not be installed, here and in the processes that this one starts.
    sys.path.append(str(HERE.parent))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")])
    )
    with tempfile.TemporaryDirectory() as place:
        check = Check(arguments.out, 60 * arguments.minutes - 5, Path(place))
        check.go(frozenset(arguments.parts), arguments.smallest)
    print(markdown(check.results))
    return int(check.failed)


class Check:
    """The results so far, and the time that is left.

    Args:
        out: directory of the results.
        seconds: time for everything.
        place: directory for compiled programs.
    """

    def __init__(self, out: Path, seconds: float, place: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.place, self.seconds = out, place, seconds
        self.began = time.monotonic()
        self.results: dict[str, Any] = {}
        self.failed = False
        self._lock = threading.Lock()
        (out / "check-gpu.log").write_text("")

    def left(self, share: float = 1.0) -> float:
        """Return the seconds left until a share of the time has passed."""
        return self.began + share * self.seconds - time.monotonic()

    def go(self, parts: frozenset[str], smallest: bool) -> None:
        """Run the parts: the environment, then what can run together, then timings."""
        about = self.part("environment", {}, 90)
        if "error" in about:
            return
        plan = gpu_plan.plan(about["backend"], about["device_count"], about["cores"], smallest)
        if about["backend"] == "cpu":
            print("There is no GPU here: small sizes on the CPU.", file=sys.stderr, flush=True)
        if "bandwidth" in parts:
            self.part("bandwidth", plan.bandwidth, 60)
        self._together([job for name, job in self._jobs(plan) if name in parts], plan.workers)
        if "grid" in parts:
            self._time_grid(plan)
        if "devices" in parts and plan.devices:
            self.part("devices", plan.devices, 120)
        if "updates" in parts:
            self._time_updates(plan)

    def part(self, name: str, numbers: dict[str, Any], limit: float, until: float = 1.0) -> dict[str, Any]:
        """Run a part of `gpu_parts.py`; record and return its result."""
        arguments = {"part": name, **numbers}
        result = self._measure("gpu_parts", arguments, limit, until, SHARED_GPU)
        self.record(name, result)
        return result

    def _jobs(self, plan: gpu_plan.Plan) -> list[tuple[str, Callable[[], None]]]:
        """Return what may run at the same time, by part, in the order of worth."""
        grid = [("grid", lambda at=at: self._compile_case(plan, at)) for at in range(len(plan.cases))]
        checks = [
            *(("resume", lambda name=name: self._resume(plan, name)) for name in plan.resume_environments),
            ("tests", lambda: self._test(plan)),
            ("agreement", lambda: self.part("agreement", plan.agreement, 240, TOGETHER) and None),
        ]
        updates = [
            ("updates", lambda at=at: self._compile_update(plan, at)) for at in range(len(plan.updates))
        ]
        steps = [("grid", lambda at=at: self._step_costs(plan, at)) for at in range(len(plan.step_cases))]
        first = plan.first_cases
        return [*grid[:first], *steps[:1], *checks, *updates, *grid[first:], *steps[1:]]

    def _together(self, jobs: list[Callable[[], None]], workers: int) -> None:
        def unless_late(job: Callable[[], None]) -> None:
            if self.left(TOGETHER) > 0:
                job()

        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(unless_late, job) for job in jobs]:
                done.result()

    def _compile_case(self, plan: gpu_plan.Plan, at: int) -> None:
        arguments = {"case": plan.cases[at], "program": str(self._program("grid", at))}
        found = self._measure("gpu_meta_step", arguments, 240, TOGETHER, SHARED_GPU)
        self.record("grid", {**plan.cases[at], **found}, at)

    def _step_costs(self, plan: gpu_plan.Plan, at: int) -> None:
        case = plan.step_cases[at]
        found = self._measure("gpu_meta_step", {"case": case}, 240, TOGETHER, SHARED_GPU)
        self.record("inner_steps", {**case, **found}, at)

    def _time_grid(self, plan: gpu_plan.Plan) -> None:
        waiting = [at for at in range(len(plan.cases)) if self._program("grid", at).exists()]
        while waiting and self.left() > 0:
            cases = [(plan.cases[at], str(self._program("grid", at))) for at in waiting]
            arguments = json.dumps({"cases": cases, "seconds": plan.seconds})
            done = run([sys.executable, str(HERE / "gpu_meta_step.py"), arguments], self.left(), {})
            for at, line in zip(waiting, done.stdout.splitlines(), strict=False):
                known = {k: v for k, v in self.results["grid"][str(at)].items() if k != "error"}
                self.record("grid", {**known, **json.loads(line)}, at)
            waiting = waiting[len(done.stdout.splitlines()) :]
            if waiting:
                self._log("grid", done.stderr)
                error = {"error": "not reached" if done.returncode is None else "the process ended early"}
                self.record("grid", {**self.results["grid"][str(waiting[0])], **error}, waiting.pop(0))

    def _resume(self, plan: gpu_plan.Plan, name: str) -> None:
        """Stop a run halfway and resume it in another process; compare with an uninterrupted run, bitwise."""
        environment = SHARED_GPU | plan.resume_environments[name]
        sessions, steps = [], plan.resume["steps"]
        for folder, until in (("whole", steps), ("stopped", steps // 2), ("stopped", steps)):
            numbers = plan.resume | {"directory": str(self.place / name / folder), "until": until}
            found = self._measure("gpu_parts", {"part": "session", **numbers}, 200, TOGETHER, environment)
            if "error" in found:
                return self.record(name, found)
            sessions.append(found)
        whole, first, rest = sessions
        same = {
            "theta_same": whole["theta"] == rest["theta"],
            "metrics_same": whole["records"] == first["records"] + rest["records"],
        }
        size = {"checkpoint_mb": whole["checkpoint_mb"]}
        self.record(name, {**plan.resume, **size, **same, "failed": not all(same.values())})

    def _compile_update(self, plan: gpu_plan.Plan, at: int) -> None:
        arguments = plan.updates[at] | {"program": str(self._program("updates", at))}
        uncached = SHARED_GPU | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        found = self._measure("update_compiling", arguments, 240, TOGETHER, uncached)
        self.record("updates", {**plan.updates[at], **found}, at)

    def _time_updates(self, plan: gpu_plan.Plan) -> None:
        from optimizer_costs import KEEP_MEMORY, merged

        for at, case in enumerate(plan.updates):
            program = self._program("updates", at)
            if program.exists() and self.left() > 0:
                arguments = case | {"program": str(program), "seconds": plan.seconds}
                times = self._measure("update_timing", arguments, 60, 1.0, KEEP_MEMORY)
                self.record("updates", {**case, **merged(self.results["updates"][str(at)], times)}, at)

    def _test(self, plan: gpu_plan.Plan) -> None:
        outcomes = self.place / "outcomes"
        environment = plan.tests_environment | SHARED_GPU
        environment |= {"LOPT_OUTCOMES": str(outcomes)}
        done = run([sys.executable, "-m", "pytest", *plan.tests], self.left(TOGETHER), environment)
        lines = [json.loads(line) for line in outcomes.read_text().splitlines()] if outcomes.exists() else []
        counts = {
            kind: [line["outcome"] for line in lines].count(kind) for kind in ("passed", "failed", "skipped")
        }
        failures = [line for line in lines if line["outcome"] == "failed"]
        result = {**counts, "whole": done.returncode in (0, 1), "failures": failures}
        if failures or not lines:
            self._log("tests", done.stdout + done.stderr)
        self.record("tests", result)

    def _measure(
        self, script: str, arguments: dict[str, Any], limit: float, until: float, environment: dict[str, str]
    ) -> dict[str, Any]:
        """Run a script for at most `limit` seconds, and until a share of the time has passed at most."""
        began = time.monotonic()
        result = start(HERE / f"{script}.py", arguments, max(1.0, min(limit, self.left(until))), environment)
        if "error" in result:
            self._log(f"{script} {arguments}", result.pop("log", ""))
        return result | {"seconds": round(time.monotonic() - began, 1)}

    def record(self, part: str, result: dict[str, Any], at: int | None = None) -> None:
        """Add a result, that of a part or of one of its cases, and write all."""
        with self._lock:
            if at is None:
                self.results[part] = result
            else:
                self.results.setdefault(part, {})[str(at)] = result
            self.failed |= bool(result.get("error", "not reached") != "not reached" or result.get("failed"))
            self.results["seconds"] = round(time.monotonic() - self.began)
            (self.out / "check-gpu.json").write_text(json.dumps(self.results, indent=1) + "\n")
            (self.out / "check-gpu.md").write_text(markdown(self.results))
            numbers = {k: v for k, v in result.items() if not isinstance(v, dict | list)}
            print(f"{self.results['seconds']:4d} s  {part}: {numbers}", file=sys.stderr, flush=True)

    def _log(self, name: str, text: str) -> None:
        with self._lock, (self.out / "check-gpu.log").open("a") as log:
            log.write(f"--- {name}\n{text}\n")

    def _program(self, part: str, at: int) -> Path:
        return self.place / f"{part}-{at}.program"


if __name__ == "__main__":
    sys.exit(main())

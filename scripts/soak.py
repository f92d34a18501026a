#!/usr/bin/env python
"""Kill a run repeatedly, and check that it resumes bit for bit: `scripts/soak.py --kills 100`.

A run is done once without interruption. Then the same command is restarted until it is complete, and killed
with SIGKILL at random instants: while it starts, between two saves, or in the middle of one. At its end theta
and every line of its metrics, except times, must be those of the uninterrupted run. Prints a tally; the exit
status is 1 if a run differed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

COMMAND = [sys.executable, "-c", "import sys; from meta_train.commands.train import main; sys.exit(main())"]
OPTIONS = "--checkpoint-every 500 --keep-last 2 --validate-every 500 --reference-rates 3 --no-progress"
LONGEST = 4.0
"""Largest number of seconds that a session trains before it is killed."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="seed of the instants")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=40_000, help="meta-steps of a run")
    parser.add_argument("--devices", type=int, default=2, help="CPU devices")
    parser.add_argument("--options", default="", help="further options of lopt-train")
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="lopt-soak-"))
    options = [arguments.preset, *OPTIONS.split(), "--devices", str(arguments.devices)]
    options += ["--steps", str(arguments.steps), *arguments.options.split()]
    print("the uninterrupted run ...", flush=True)
    subprocess.run([*COMMAND, *options, "--run-dir", str(place / "whole")], check=True)
    tally = soak(options, place, arguments.kills, random.Random(arguments.seed))
    print(
        f"{tally['kills']} kills ({tally['starting']} while starting, {tally['saving']} in the middle of a "
        f"save) in {tally['runs']} runs: {tally['exact']} kills resumed exactly"
    )
    if tally["exact"] == tally["kills"]:
        shutil.rmtree(place)
        return 0
    print(f"the runs are in {place}", file=sys.stderr)
    return 1


def soak(options: list[str], place: Path, kills: int, draw: random.Random) -> dict[str, int]:
    """Kill runs until the number of kills is reached; return the tally."""
    tally: dict[str, int] = dict.fromkeys(["kills", "starting", "saving", "runs", "exact"], 0)
    while tally["kills"] < kills:
        tally["runs"] += 1
        run, killed = place / f"run-{tally['runs']}", 0
        while (status := _session(options, run, tally["kills"] < kills, draw)) != "done":
            killed += 1
            tally["kills"] += 1
            tally["saving"] += status == "saving"
            tally["starting"] += status == "starting"
            print(f"kill {tally['kills']}: {status}", flush=True)
        if complaint := difference(place / "whole", run):
            print(f"{run} after {killed} kills: {complaint}", file=sys.stderr)
        else:
            tally["exact"] += killed
            shutil.rmtree(run)
    return tally


def _session(options: list[str], run: Path, kill: bool, draw: random.Random) -> str:
    """Start or resume a run and kill it; return what it was doing, or "done" if it finished first."""
    process = subprocess.Popen([*COMMAND, *options, "--run-dir", str(run)], stderr=subprocess.PIPE, text=True)
    instant = draw.choice(("any", "save", "start"))
    began, patience, left_over = _progress(run), draw.uniform(0, LONGEST), _unfinished(run)
    clock = time.monotonic()
    training: float | None = 0.0 if instant == "start" else None
    while kill and process.poll() is None:
        now = time.monotonic() - clock
        if training is None and _progress(run) > began:
            training = now
        if training is not None and now - training > patience:
            saving = bool(_unfinished(run) - left_over)
            if instant != "save" or saving:
                process.kill()
                process.communicate()
                return "saving" if saving else "training" if _progress(run) > began else "starting"
        time.sleep(0.0005 if instant == "save" else 0.01)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"the run in {run} failed:\n{errors}")
    return "done"


def _unfinished(run: Path) -> set[int]:
    """Return the unfinished saves, including killed ones, by inode."""
    found = (run / "checkpoints").glob("*.orbax-checkpoint-tmp")
    with suppress(FileNotFoundError):  # one was finished at this moment
        return {path.stat().st_ino for path in found}
    return set()


def _progress(run: Path) -> int:
    """Return the size of the metrics file, which grows as the run progresses."""
    metrics = run / "metrics.jsonl"
    return metrics.stat().st_size if metrics.exists() else 0


def difference(whole: Path, run: Path) -> str:
    """Return what differs between two finished runs, except times; "" if nothing does."""
    import jax
    import numpy as np

    from meta_train import load_run_optimizer

    one, other = (jax.tree.leaves(load_run_optimizer(path)) for path in (whole, run))
    if not all(np.array_equal(x, y) for x, y in zip(one, other, strict=True)):
        return "theta differs"
    lines, others = _lines(whole), _lines(run)
    if [line["meta_step"] for line in lines] != [line["meta_step"] for line in others]:
        return "metrics have gaps or duplicates"
    return "" if lines == others else "metrics differ"


def _lines(run: Path) -> list[dict]:
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in read]


if __name__ == "__main__":
    sys.exit(main())

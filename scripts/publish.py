#!/usr/bin/env python
"""Publish a run's theta: `scripts/publish.py RUN_DIR NAME [--eval runs/eval/hyper-free/eval.json]`.

That is the best by validation, or with --step and --average what they choose, as of lopt-export.

Writes config.json and theta.safetensors to checkpoints/NAME; with --eval, also the numbers of a benchmark
without its curves. The table for checkpoints/README.md is in the benchmark's report.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from eval import Results
from meta_train import export_run

_CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", type=Path, help="run directory of lopt-train")
    parser.add_argument("name", help="name of the published optimizer")
    parser.add_argument("--step", type=int, help="meta-step of the newest checkpoint to take")
    parser.add_argument("--average", type=int, default=1, help="take the mean of this many checkpoints")
    parser.add_argument("--eval", type=Path, help="eval.json of a benchmark")
    given = parser.parse_args(arguments)
    best = given.step is None and given.average == 1
    directory = export_run(given.run_dir, _CHECKPOINTS / given.name, given.step, best, given.average)
    print(f"wrote {directory}")
    if given.eval:
        results = Results.from_json(given.eval.read_text())
        (directory / "eval.json").write_text(results.without_curves().to_json())


if __name__ == "__main__":
    main()

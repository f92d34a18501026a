"""Where a terminal, a pipe or a disk takes nothing more, a run goes on or ends with one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meta_train import JsonLines

from .small_disks import small_disk

REPOSITORY = Path(__file__).parents[1]
TRAIN = "import sys; from meta_train.commands.train import main; sys.exit(main())"
OPTIONS = (
    "tiny --task quadratic --particles 4 --devices 1 --window 5 --horizon-high 10 --reference-rates 0 "
    "--hysteresis-particles 0 --validation-episodes 1 --steps-per-call 2 --checkpoint-every 2"
)
PRINT = """
import sys
from meta_train.host.standard_error import forgiving_standard_error
with forgiving_standard_error():
    for _ in range(3):
        print("x" * 100_000, file=sys.stderr, flush=True)
print("done")
"""


def run(program, *arguments, stderr):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
    )


@pytest.fixture(params=["closed pipe", "full disk"])
def broken(request):
    """A standard error that takes nothing."""
    if request.param == "full disk":
        if not os.path.exists("/dev/full"):
            pytest.skip("there is no /dev/full here")
        with open("/dev/full", "w") as file:
            yield file
        return
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def test_what_can_not_be_printed_is_lost_and_the_status_is_good(broken):
    done = run(PRINT, stderr=broken)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_what_can_be_printed_is_printed():
    done = run(PRINT, stderr=subprocess.PIPE)
    assert (done.returncode, len(done.stderr)) == (0, 300_003)


def test_training_goes_on_without_its_progress_and_saves(broken, tmp_path):
    done = run(TRAIN, *OPTIONS.split(), "--steps", 6, "--run-dir", tmp_path / "run", stderr=broken)
    assert done.returncode == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["meta_step"] for line in lines] == [0, 2, 4, 6]
    assert (tmp_path / "run" / "checkpoints" / "6").is_dir()


def test_metrics_that_can_not_be_written_are_told_of_in_one_sentence(tmp_path, monkeypatch):
    tracker = JsonLines(tmp_path / "metrics.jsonl")
    tracker.close()
    with Path("/dev/full").open("a") as full:
        monkeypatch.setattr(tracker, "_file", full)
        with pytest.raises(OSError, match=r"metrics.jsonl can't be written: No space left on device"):
            tracker.log(1, {"loss": 1.0})
        tracker.close()


@pytest.mark.parametrize("kilobytes", [150, 400])  # full in the midst of the second or a later save
def test_a_full_disk_ends_a_run_with_one_sentence_and_nothing_else(kilobytes, tmp_path):
    arguments = (*OPTIONS.split(), "--keep-last", 1000, "--steps", 1000, "--no-progress")
    with small_disk(tmp_path / "disk", kilobytes) as place:
        done = run(TRAIN, *arguments, "--run-dir", place / "run", stderr=subprocess.PIPE)
        saved = [path.name for path in (place / "run" / "checkpoints").iterdir()]
    assert done.returncode == 1
    assert done.stderr.startswith("lopt-train: a checkpoint can't be written to ")
    # On a busy machine the second save may begin before the first is whole.
    intact = sorted(int(name) for name in saved if name.isdigit())
    told = f"the newest intact one is {intact[-1]}" if intact else "there is no older one"
    assert f"no space is left on the device; {told}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("kilobytes", "file"),
    [(4, "config.json"), (8, "checkpoints/README.txt"), (12, "run.json"), (16, "metrics.jsonl")],
)
def test_a_disk_that_is_full_from_the_start_is_told_of_with_the_file(kilobytes, file, tmp_path):
    arguments = (*OPTIONS.split(), "--steps", 4, "--no-progress")
    with small_disk(tmp_path / "disk", kilobytes) as place:
        done = run(TRAIN, *arguments, "--run-dir", place / "run", stderr=subprocess.PIPE)
    told = f"lopt-train: {place}/run/{file} can't be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, told)

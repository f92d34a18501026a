"""Several processes train one theta: the same as one process does, and none outlives the others.

The processes are real, on this machine, and talk to each other by gloo.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from meta_train import Launch, RunDirectory, load_run_optimizer

pytestmark = pytest.mark.slow  # real processes, which start and compile anew

REPOSITORY = Path(__file__).parents[1]
LAUNCHER = REPOSITORY / "scripts" / "local_processes.sh"
TRAIN = "import sys; from meta_train.commands.train import main; sys.exit(main())"
# Process 1 fails at its third call, as by a bug of ours.
FAIL = """
import sys
from meta_train.runs import trainer
if "--process-id 1" in " ".join(sys.argv):
    call = trainer.Trainer._call
    def fail(self):
        if self.meta_step >= 20:
            raise ZeroDivisionError("a bug")
        return call(self)
    trainer.Trainer._call = fail
from meta_train.commands.train import main
sys.exit(main())
"""
OPTIONS = shlex.split(
    "tiny --particles 4 --window 5 --horizon-high 20 --validate-every 50 --validation-episodes 4 "
    "--reference-rates 3 --hysteresis-particles 2 --checkpoint-every 20 --keep-last 1000"
)


def environment(**more):
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"} | more


def command(path, *options, program=TRAIN):
    return [sys.executable, "-c", program, *OPTIONS, "--run-dir", str(path), *map(str, options)]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(arguments, **more):
    return subprocess.Popen(
        arguments,
        cwd=REPOSITORY,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(path, *options, restarts=0):
    """Run two processes by the launcher; return its exit status and what was written."""
    job = start([LAUNCHER, "2", "--restarts", str(restarts), "--", *command(path, *options)])
    output, errors = job.communicate(timeout=240)
    return job.returncode, output, errors


def alone(path, *options):
    """Run one process; return its errors."""
    process = start(command(path, *options))
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return errors


def metrics(path):
    file = RunDirectory(path).metrics
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def wait_for(path, meta_step, *processes):
    patience = time.monotonic() + 120
    while not (seen := metrics(path)) or seen[-1]["meta_step"] < meta_step:
        assert time.monotonic() < patience, "the job does not get on"
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


def assert_close(path, other):
    """To rounding: the order of sums differs."""
    one, two = load_run_optimizer(path), load_run_optimizer(other)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4), one, two)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """100 meta-steps of one process with two devices."""
    path = tmp_path_factory.mktemp("runs") / "one"
    alone(path, "--steps", 100, "--devices", 2)
    return path


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The same of two processes; what they wrote."""
    path = tmp_path_factory.mktemp("runs") / "two"
    status, _, errors = launch(path, "--steps", 100)
    assert status == 0, errors
    return path, errors


def test_two_processes_give_the_theta_of_one_to_rounding(one, two):
    assert_close(two[0], one)
    start = load_run_optimizer(one, step=0)
    assert abs(float(load_run_optimizer(one).log_learning_rate - start.log_learning_rate)) > 0.1


def test_only_process_0_logs_and_draws(one, two):
    path, errors = two
    assert [line["meta_step"] for line in metrics(path)] == list(range(0, 101, 10))
    assert metrics(path)[-1].keys() == metrics(one)[-1].keys()
    assert errors.count("meta-step 100/100") == 1
    assert "[1] meta-step" not in errors
    assert errors.count("done: 100 meta-steps") == 1


def test_a_job_of_two_goes_on_with_one_process_and_the_other_way_round(one, two):
    """The second finds its processes in the environment, as under SLURM."""
    assert "resuming" in alone(two[0], "--steps", 120, "--devices", 1)
    job = {
        "SLURM_JOB_ID": str(os.getpid() % 4096),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_LOCALID": "0",
    }
    members = [
        start(command(one, "--steps", 120, "--distributed"), SLURM_PROCID=str(rank), **job) for rank in (0, 1)
    ]
    for member in members:
        _, errors = member.communicate(timeout=240)
        assert member.returncode == 0, errors
    assert [line["meta_step"] for line in metrics(one)] == [line["meta_step"] for line in metrics(two[0])]
    assert_close(two[0], one)


def members_of(path, *options, program=TRAIN):
    """Start two processes without a launcher."""
    port = free_port()
    together = ("--coordinator", f"127.0.0.1:{port}", "--num-processes", 2, "--process-id")
    return [start(command(path, *options, *together, rank, program=program)) for rank in (0, 1)]


def test_one_preempted_process_makes_all_save_together(tmp_path):
    path = tmp_path / "run"
    members = members_of(path, "--steps", 1_000_000, "--stopped-status", 75)
    wait_for(path, 20, *members)
    members[1].send_signal(signal.SIGTERM)
    errors = [member.communicate(timeout=60)[1] for member in members]
    assert [member.returncode for member in members] == [75, 75], errors
    stopped = metrics(path)[-1]["meta_step"]
    assert f"stopped at meta-step {stopped}" in errors[0]
    assert (path / "checkpoints" / str(stopped)).is_dir()


def test_a_process_that_raises_ends_at_once_and_takes_the_others_down(tmp_path):
    began = time.monotonic()
    members = members_of(tmp_path / "run", "--steps", 1_000_000, program=FAIL)
    _, errors = members[1].communicate(timeout=120)
    failed = time.monotonic()
    assert members[1].returncode == 70
    assert "process 1 crashed" in errors
    assert "ZeroDivisionError: a bug" in errors
    members[0].communicate(timeout=60)
    assert members[0].returncode not in (0, 1, 2)
    assert time.monotonic() - failed < 60
    assert failed - began < 120


def test_a_killed_process_is_named_and_the_restarted_job_ends_as_if_nothing_had_happened(tmp_path):
    path = tmp_path / "run"
    job = start([LAUNCHER, "2", "--restarts", "1", "--", *command(path, "--steps", 20_000)])
    wait_for(path, 40, job)
    while not (path / "checkpoints" / "20").is_dir():  # saves are in the background
        assert job.poll() is None
        time.sleep(0.05)
    (victim,) = pids(str(path), "--process-id 1")
    os.kill(victim, signal.SIGKILL)
    assert job.stderr is not None
    heard = []
    while not any("restart 1 of 1" in line for line in heard):
        heard.append(line := job.stderr.readline())
        assert line, heard
    assert any("process 1 was killed by SIGKILL" in line for line in heard)
    wait_for(path, metrics(path)[-1]["meta_step"] + 50, job)
    job.send_signal(signal.SIGTERM)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 0, errors
    steps = [line["meta_step"] for line in metrics(path)]
    assert steps == list(range(0, steps[-1] + 1, 10))
    assert "resuming" in "".join(heard) + errors


def pids(*words):
    """Find running programs by words of their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if line.startswith(sys.executable) and all(word in line for word in words):
            found.append(int(entry.name))
    return found


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinator": "127.0.0.1:1"}, "--coordinator, --num-processes and --process-id go together"),
        ({"num_processes": 2, "process_id": 0}, "go together"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "it can't be 2"),
        ({"stop_seconds": 0.0}, "--stop-seconds must be positive"),
    ],
)
def test_a_launch_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Launch(**options)


@pytest.mark.parametrize("backend", ["pmap", "vmap"])
def test_backends_of_one_process_are_refused_in_several(tmp_path, backend):
    status, _, errors = launch(tmp_path / "run", "--steps", 20, "--backend", backend)
    assert status == 1
    assert f"--backend {backend} is for one process, and there are 2" in errors
    assert not (tmp_path / "run").exists()

"""Launchers of multi-process jobs, with fake commands: what is passed on, restarted, said, left behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

SCRIPTS = Path(__file__).parents[1] / "scripts"
LOCAL = str(SCRIPTS / "local_processes.sh")
FOREVER = "echo up >>up\nwhile :; do sleep 0.05; done"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the launchers are bash scripts")


def executable(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def fake(directory, body, name="fake"):
    """Write a command that notes its pid, port and words in `directory`, then does `body` as process $i."""
    return executable(
        directory / name,
        f"""cd '{directory}'; echo $$ >>pids; for word; do echo "$word" >>words; done
while [ $# -gt 0 ]; do case $1 in --process-id) i=$2 ;; --coordinator) port=${{2#*:}} ;; esac; shift; done
echo $port >>ports
{body}""",
    )


def saves_and_stops(name, status):
    return f"trap 'echo {name}$i >>got; sleep 0.3; exit {status}' {name}\n{FOREVER}"


@contextmanager
def started(*command, **options):
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*map(str, command)], **options) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process, timeout=60):
    """Wait for a launcher; return its exit status, stdout and the lines of stderr."""
    output, errors = process.communicate(timeout=timeout)
    return process.returncode, output, errors.splitlines()


def run(*arguments, **options):
    with started(LOCAL, *arguments, **options) as launcher:
        return finish(launcher)


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def wait_for(condition, timeout=30):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return state[:1] not in ("", "Z")


def assert_nothing_is_left(directory, processes):
    pids = lines(directory / "pids")
    assert len(pids) == processes
    wait_for(lambda: not any(map(alive, pids)), timeout=2)


def test_each_process_gets_its_place_and_the_first_the_terminal(tmp_path):
    command = fake(tmp_path, "echo out$i $JAX_PLATFORMS; echo err$i >&2")
    environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    status, output, errors = run(3, "--", command, "demo", "--run-dir", "a b", env=environment)
    assert (status, output) == (0, "out0 cpu\n")
    assert sorted(errors) == ["[1] err1", "[1] out1 cpu", "[2] err2", "[2] out2 cpu", "err0"]
    (port,) = set(lines(tmp_path / "ports"))
    words = ["demo", "--run-dir", "a b", "--coordinator", f"127.0.0.1:{port}", "--num-processes", "3"]
    assert Counter(lines(tmp_path / "words")) == Counter([*words, "--process-id"] * 3 + ["0", "1", "2"])
    assert_nothing_is_left(tmp_path, 3)


def test_logs_and_gpus(tmp_path):
    command = fake(tmp_path, "echo gpu $CUDA_VISIBLE_DEVICES; test $i = 0 || exit 70")
    environment = os.environ | {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": "4,6"}
    arguments = ("--log-dir", tmp_path / "logs", "--port", "29001", "--", command)
    status, output, errors = run(2, *arguments, env=environment)
    assert (status, output) == (70, "gpu 4\n")
    assert lines(tmp_path / "logs/process-1.log") == ["gpu 6"]
    assert set(lines(tmp_path / "ports")) == {"29001"}
    (line,) = errors
    assert f"process 1 ended with status 70 (see {tmp_path}/logs/process-1.log); resume with: " in line
    assert "JAX_PLATFORMS=cuda CUDA_VISIBLE_DEVICES=4" in line
    assert "has 2 GPUs for 3 processes" in run(3, *arguments, env=environment)[2][0]


def test_the_first_to_fail_is_named_though_others_abort_later(tmp_path):
    command = fake(tmp_path, "test $i = 2 && kill -KILL $$; sleep 0.$((i + 2)); exit 134")
    status, _, errors = run(3, "--", command)
    assert status == 137
    (line,) = errors
    assert line.startswith("local_processes.sh: process 2 was killed by SIGKILL; resume with: ")
    assert_nothing_is_left(tmp_path, 3)


def test_the_others_and_what_they_started_are_killed_after_the_grace(tmp_path):
    body = "test $i = 1 && exit 70\ntrap '' TERM\nsh -c 'echo $$ >>pids; sleep 60' &\nsleep 60"
    began = time.monotonic()
    status, _, _ = run(3, "--grace", "1", "--", fake(tmp_path, body))
    assert status == 70
    assert time.monotonic() - began < 5
    assert_nothing_is_left(tmp_path, 5)


def test_restarts_then_gives_up(tmp_path):
    command = fake(tmp_path, "sleep 0.1; exit $((70 + i))")
    status, _, errors = run(2, "--restarts", "2", "--", command)
    assert status in (70, 71)
    assert len(errors) == 3
    assert re.search(r"process [01] ended with status 7[01]; restart 1 of 2 follows in 1 s$", errors[0])
    assert "; restart 2 of 2 follows in 2 s" in errors[1]
    assert "; resume with: " in errors[2]
    assert len(set(lines(tmp_path / "ports"))) == 3
    assert_nothing_is_left(tmp_path, 6)


def test_a_restart_that_succeeds_is_a_success(tmp_path):
    command = fake(tmp_path, "test $i = 1 || exit 0; mkdir once 2>/dev/null && kill -SEGV $$; exit 0")
    status, _, errors = run(2, "--restarts", "3", "--", command)
    assert status == 0
    assert errors == ["local_processes.sh: process 1 was killed by SIGSEGV; restart 1 of 3 follows in 1 s"]


@pytest.mark.parametrize("status", [1, 2])
def test_errors_that_would_come_again_are_not_restarted(tmp_path, status):
    command = fake(tmp_path, f"test $i = 0 && exit {status}; sleep 0.2; exit 134")
    returned, _, errors = run(2, "--restarts", "3", "--", command)
    assert returned == status
    (line,) = errors
    assert line.startswith(f"local_processes.sh: process 0 ended with status {status}; resume with: ")
    assert_nothing_is_left(tmp_path, 2)


def test_a_job_that_stopped_by_itself_is_restarted_and_nobody_is_killed_while_saving(tmp_path):
    command = fake(tmp_path, "mkdir once$i 2>/dev/null || exit 0; sleep $((i * 2)); echo saved$i; exit 75")
    status, output, errors = run(2, "--restarts", "1", "--grace", "0", "--", command)
    assert (status, output) == (0, "saved0\n")
    assert "[1] saved1" in errors
    assert any("ended with status 75; restart 1 of 1" in line for line in errors)


@pytest.mark.parametrize("status", [0, 75])
def test_sigterm_is_passed_on_once_and_waited_for(tmp_path, status):
    command = fake(tmp_path, saves_and_stops("TERM", status))
    with started(LOCAL, 3, "--restarts", 3, "--", command) as launcher:
        wait_for(lambda: len(lines(tmp_path / "up")) == 3)
        launcher.send_signal(signal.SIGTERM)
        returned, _, errors = finish(launcher)
    assert returned == 0
    assert sorted(lines(tmp_path / "got")) == ["TERM0", "TERM1", "TERM2"]
    (line,) = errors
    assert "stopped by SIGTERM; resume with: " in line
    assert_nothing_is_left(tmp_path, 3)


def test_a_second_signal_kills_at_once(tmp_path):
    command = fake(tmp_path, f"trap 'echo TERM >>got' TERM\n{FOREVER}")
    with started(LOCAL, 2, "--", command) as launcher:
        wait_for(lambda: len(lines(tmp_path / "up")) == 2)
        launcher.send_signal(signal.SIGTERM)
        wait_for(lambda: len(lines(tmp_path / "got")) == 2)
        assert launcher.poll() is None
        launcher.send_signal(signal.SIGTERM)
        status, _, errors = finish(launcher, timeout=5)
    assert status == 128 + signal.SIGTERM
    assert "killed by the second signal; resume with: " in errors[-1]
    assert_nothing_is_left(tmp_path, 2)


def test_ctrl_c_in_a_terminal_reaches_each_process_once(tmp_path):
    command = fake(tmp_path, "test -t 1 && echo terminal$i >>terminal\n" + saves_and_stops("INT", 0))
    spawn = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    with started(sys.executable, "-c", spawn, LOCAL, 2, "--", command, stdin=subprocess.PIPE) as process:
        wait_for(lambda: len(lines(tmp_path / "up")) == 2)
        output, _ = process.communicate("\x03", timeout=60)
    assert process.returncode == 0
    assert "stopped by SIGINT" in output
    assert sorted(lines(tmp_path / "got")) == ["INT0", "INT1"]
    assert lines(tmp_path / "terminal") == ["terminal0"]
    assert_nothing_is_left(tmp_path, 2)


def test_sigterm_before_a_restart_ends_everything(tmp_path):
    with started(LOCAL, 2, "--restarts", 9, "--", fake(tmp_path, "exit 70")) as launcher:
        assert "follows in 1 s" in launcher.stderr.readline()
        launcher.send_signal(signal.SIGTERM)
        status, _, errors = finish(launcher, timeout=5)
    assert status == 0
    assert "stopped by SIGTERM; resume with: " in errors[-1]
    assert_nothing_is_left(tmp_path, 2)


@pytest.mark.parametrize("whole_group", [False, True])
def test_even_sigkill_leaves_no_orphan(tmp_path, whole_group):
    command = fake(tmp_path, f"trap '' TERM HUP INT\n{FOREVER}")
    with started(LOCAL, 2, "--", command, start_new_session=True) as launcher:
        wait_for(lambda: len(lines(tmp_path / "up")) == 2)
        os.kill(-launcher.pid if whole_group else launcher.pid, signal.SIGKILL)
        finish(launcher, timeout=5)
    assert_nothing_is_left(tmp_path, 2)


def test_the_resume_command_can_be_pasted(tmp_path):
    awkward = ["a b", "it's", '$HOME "x"', "*", "new\tline;#"]
    command = fake(tmp_path, 'test "$i" = 0 || exit 70', name="a command")
    _, _, errors = run(2, "--log-dir", tmp_path / "the logs", "--", command, *awkward)
    before = Counter(lines(tmp_path / "words"))
    assert all(before[word] == 2 for word in awkward)
    subprocess.run(["bash", "-c", errors[-1].partition("resume with: ")[2]], stderr=subprocess.DEVNULL)
    after = Counter(lines(tmp_path / "words"))
    assert all(after[word] == 4 for word in awkward)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("-- true", "the number of processes is a positive integer, not ''"),
        ("2", "no COMMAND"),
        ("2 true", "'true' is one argument too many"),
        ("2 --restarts -- true", "--restarts needs a value"),
        ("2 --restarts many -- true", "--restarts takes a number, not 'many'"),
        ("2 --port 70000 -- true", "--port takes a number from 1 to 65535"),
        ("2 --steps 3 -- true", "--steps is no option of this script"),
        ("2 -- no-such-program", "there is no program 'no-such-program'"),
    ],
)
def test_bad_usage_is_told_in_one_sentence(arguments, message):
    status, output, errors = run(*arguments.split())
    assert (status, output, len(errors)) == (2, "", 1)
    assert message in errors[0]


def test_help():
    assert run("--help")[1].startswith("usage: local_processes.sh N ")


# --- SLURM ---


@pytest.fixture
def cluster(tmp_path):
    """Fake srun, scontrol and scancel; `$SRUN` says what srun does once it has noted its arguments."""
    answers = {"srun": 'eval "$SRUN"', "scontrol": "echo '   Command=/jobs/train.sbatch demo'", "scancel": ""}
    (tmp_path / "bin").mkdir()
    for name, answer in answers.items():
        notes = 'for word; do echo "$word"; done' if name == "srun" else 'echo "$@"'
        executable(tmp_path / "bin" / name, f"{notes} >>'{tmp_path}/{name}.txt'\n{answer}")
    return tmp_path


def submit(cluster, srun, restarted=0, send=None):
    """Run the batch script as restart number `restarted`; return status, whether it requeued, stderr."""
    environment = os.environ | {"PATH": f"{cluster}/bin:{os.environ['PATH']}", "SRUN": srun, "RESTARTS": "3"}
    slurm = {"SLURM_JOB_ID": "42", "SLURM_SUBMIT_DIR": "/home/me", "SLURM_RESTART_COUNT": str(restarted)}
    arguments = ["bash", str(SCRIPTS / "slurm/train.sbatch"), "demo", "--run-dir", "a b"]
    with started(*arguments, env=environment | slurm) as job:
        if send:
            wait_for((cluster / "srun.txt").exists)
            time.sleep(0.1)
            job.send_signal(send)
        _, errors = job.communicate(timeout=60)
    requeued = [line for line in lines(cluster / "scontrol.txt") if "requeue" in line]
    assert requeued in ([], ["requeue Incomplete 42"])
    return job.returncode, bool(requeued), errors


def srun_says(*ends, status):
    return "; ".join(f"echo 'srun: error: {end}' >&2" for end in ends) + f"; exit {status}"


def test_slurm_runs_lopt_train_in_every_task(cluster):
    assert submit(cluster, "exit 0") == (0, False, "")
    words = lines(cluster / "srun.txt")
    expected = ["demo", "--run-dir", "a b", "--distributed", "--stopped-status", "75"]
    assert words[words.index("lopt-train") + 1 :] == expected
    assert {"--kill-on-bad-exit=0", "--wait=50"} <= set(words)


def test_slurm_requeues_what_was_stopped_however_often(cluster):
    srun = srun_says("node[07-08]: tasks 0-15: Exited with exit code 75", status=75)
    status, requeued, errors = submit(cluster, srun, restarted=100)
    assert (status, requeued) == (75, True)
    assert "process 0-15 on node[07-08]: Exited with exit code 75; requeueing job 42, restart 101;" in errors


@pytest.mark.parametrize(
    ("end", "srun_status", "expected"),
    [("Exited with exit code 70", 137, 70), ("Aborted (core dumped)", 134, 134), ("Out Of Memory", 253, 253)],
)
def test_slurm_requeues_a_crash_while_restarts_are_left(cluster, end, srun_status, expected):
    srun = srun_says(f"node07: task 3: {end}", "node08: tasks 8-15: Killed", status=srun_status)
    status, requeued, errors = submit(cluster, srun, restarted=2)
    assert (status, requeued) == (expected, True)
    assert f"train.sbatch: process 3 on node07: {end}; requeueing job 42, restart 3;" in errors
    (cluster / "scontrol.txt").unlink()
    status, requeued, errors = submit(cluster, srun, restarted=3)
    assert (status, requeued) == (expected, False)
    assert "; resume with: cd /home/me && sbatch /jobs/train.sbatch demo --run-dir a\\ b\n" in errors


def test_slurm_tells_the_status_of_srun_where_srun_names_no_task(cluster):
    status, requeued, errors = submit(cluster, "exit 143")
    assert (status, requeued) == (143, True)
    assert "train.sbatch: srun ended with status 143; requeueing job 42, restart 1;" in errors


@pytest.mark.parametrize("error", [1, 2])
def test_slurm_requeues_no_error_that_would_come_again(cluster, error):
    ends = f"node07: task 0: Exited with exit code {error}", "node08: task 1: Killed"
    status, requeued, errors = submit(cluster, srun_says(*ends, status=137))
    assert (status, requeued) == (error, False)
    assert f"process 0 on node07: Exited with exit code {error}; resume with: " in errors


@pytest.mark.parametrize(("number", "back"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_slurm_passes_signals_on_and_waits(cluster, number, back):
    saved = f"while [ ! -e '{cluster}/scancel.txt' ]; do sleep 0.05; done; sleep 0.3; "
    srun = saved + srun_says("node07: task 0: Exited with exit code 75", status=75)
    status, requeued, errors = submit(cluster, srun, send=number)
    assert lines(cluster / "scancel.txt") == ["--signal=TERM 42.0"]
    assert (status, requeued) == ((75, True) if back else (0, False))
    assert ("requeueing" in errors) == back


def test_slurm_options():
    text = (SCRIPTS / "slurm/train.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.M))
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert "gpus-per-task" not in options
    assert (options["signal"], options["open-mode"], options["requeue"]) == ("B:TERM@120", "append", "")


# --- Kubernetes ---


def test_the_jobset_says_what_lopt_train_and_jax_rely_on():
    documents = {d["kind"]: d for d in yaml.safe_load_all((SCRIPTS / "k8s/jobset.yaml").read_text())}
    jobset = documents["JobSet"]
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    (rule,) = jobset["spec"]["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0
    (workers,) = jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    assert (workers["replicas"], job["completionMode"], job["backoffLimit"]) == (1, "Indexed", 0)
    assert job["completions"] == job["parallelism"] > 1
    assert f"--num-processes {job['completions']} " in (SCRIPTS / "k8s/jobset.yaml").read_text()
    pod = job["template"]["spec"]
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"]) == ("Never", 60)
    (container,) = pod["containers"]
    assert container["command"] == ["lopt-train"]
    assert container["args"][-3:] == ["--distributed", "--stopped-status", "75"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] >= 1
    disruption, error = job["podFailurePolicy"]["rules"]
    assert (disruption["action"], error["action"]) == ("Count", "FailJob")
    codes = error["onExitCodes"]
    assert (codes["containerName"], codes["operator"], codes["values"]) == (container["name"], "In", [1, 2])
    claim = documents["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert container["args"][container["args"].index("--run-dir") + 1].startswith(mount["mountPath"] + "/")
    account = documents["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == account
    assert documents["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": account}]
    assert documents["RoleBinding"]["roleRef"]["name"] == documents["Role"]["metadata"]["name"]
    rules = [rule["resources"] + rule["verbs"] for rule in documents["Role"]["rules"]]
    assert rules == [["pods", "list"], ["jobs", "get"]]
    environment = {entry["name"]: entry for entry in container["env"]}
    assert "WANDB_MODE" in environment
    assert environment["WANDB_API_KEY"]["valueFrom"]["secretKeyRef"]["optional"]

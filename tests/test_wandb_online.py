"""With a server, W&B holds every record of a run once, and a network that fails costs no training."""

import subprocess
import sys
import time

import pytest

from meta_train import JsonLines, WandB, WandBOptions

from .wandb_server import serving

RUN = "abcd1234"

wandb = pytest.importorskip("wandb")


@pytest.fixture
def connect(monkeypatch):
    """Have W&B's client talk to an address, in this process and in those that it starts."""

    def to(url):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        wandb.teardown()  # it keeps the settings of its first run

    yield to
    wandb.teardown()


def values(step):
    return {"meta/loss": 1 / (1 + step)}


def train(directory, resume_step, end, mode="online", **options):
    """Be a session of a run: go on from a checkpoint's step, log every step up to `end`, and close."""
    history = directory / "metrics.jsonl"
    trackers = [JsonLines(history, resume_step)]
    if mode:
        place = WandBOptions(mode, "lopt-tests")
        trackers.append(WandB(directory, place, {"sigma": 0.1}, RUN, history, resume_step, **options))
    for step in range(resume_step + (resume_step > 0), end + 1):
        for tracker in trackers:
            tracker.log(step, values(step))
    for tracker in trackers:
        tracker.close()
    wandb.teardown()


def everything(end):
    return [(step, values(step)["meta/loss"]) for step in range(end + 1)]


def held(server):
    return [(record["meta_step"], record["meta/loss"]) for record in server.records(RUN)]


def sync(directory, files, *options):
    command = [sys.executable, "-P", "-m", "wandb", "sync", *options, *sorted(files)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


# --- sessions --------------------------------------------------------------------------------------------


def test_a_resumed_run_sends_what_the_server_lacks_and_nothing_twice(tmp_path, connect):
    with serving() as server:
        connect(server.url)
        train(tmp_path, 0, 4)  # beyond the checkpoint at 3
        train(tmp_path, 3, 6, mode=None)  # a session without W&B
        train(tmp_path, 6, 8)
        assert held(server) == everything(8)
        assert '"sigma"' in server.run(RUN)["config"]


def test_offline_sessions_are_synced_in_order(tmp_path, connect):
    with serving() as server:
        connect(server.url)
        train(tmp_path, 0, 4, mode="offline")
        killed = tmp_path / "wandb" / "offline-run-20991231_000000-abcd1234" / "run-abcd1234.wandb"
        killed.parent.mkdir()
        killed.write_bytes(b":W&B\xe1\xbe\x00")
        train(tmp_path, 2, 6, mode="offline")
        train(tmp_path, 6, 8, mode="offline")
        sync(tmp_path, tmp_path.glob("wandb/offline-run-*"))
        assert held(server) == everything(8)


def test_what_an_offline_session_kept_is_sent_by_the_next_one_online(tmp_path, connect):
    with serving() as server:
        connect(server.url)
        train(tmp_path, 0, 2)
        train(tmp_path, 2, 5, mode="offline")
        train(tmp_path, 4, 6)
        assert held(server) == everything(6)
        assert not list(tmp_path.glob("wandb/offline-run-*"))  # so that it is not synced now
        assert len(list(tmp_path.glob("wandb/superseded/offline-run-*"))) == 1


def test_a_run_of_its_own_has_a_kind(tmp_path, connect):
    with serving() as server:
        connect(server.url)
        with WandB(
            tmp_path, WandBOptions("online", group="suite"), {"suite": "digits"}, job_type="eval"
        ) as run:
            run.log(0, {"score": 0.5})
        ((name, about),) = server.runs.items()
        assert (about["asked"]["jobType"], about["asked"]["groupName"]) == ("eval", "suite")
        assert [record["score"] for record in server.records(name)] == [0.5]


# --- a network that fails --------------------------------------------------------------------------------


def test_a_server_out_of_reach_means_a_session_offline_and_one_warning(tmp_path, connect, capsys):
    connect("http://127.0.0.1:9")  # nothing listens there
    begun = time.monotonic()
    train(tmp_path, 0, 3, start_timeout=1.0)
    assert time.monotonic() - begun < 40
    told = capsys.readouterr().err
    assert told.count("W&B can't be reached") == 1
    assert f"wandb sync {tmp_path}/wandb/offline-run-*{RUN}" in told
    with serving() as server:
        connect(server.url)
        sync(tmp_path, tmp_path.glob("wandb/offline-run-*"))
        assert held(server) == everything(3)


def test_a_server_that_says_no_is_an_error(tmp_path, connect):
    with serving(status=401) as server:
        connect(server.url)
        with pytest.raises(ValueError, match=r"W&B can't start \(.*401.*\): type `wandb login`"):
            WandB(tmp_path, WandBOptions("online"), {}, RUN)


def test_a_server_that_takes_nothing_does_not_hold_up_the_end(tmp_path, connect, capsys):
    with serving(stuck=True) as server:
        connect(server.url)
        begun = time.monotonic()
        train(tmp_path, 0, 3, finish_timeout=2.0)
        assert time.monotonic() - begun < 40
        assert not held(server)
    told = capsys.readouterr().err
    assert told.count("did not finish within 2 s") == 1
    (session,) = tmp_path.glob("wandb/run-*")
    assert f"wandb sync --include-online {session}" in told
    with serving() as server:
        connect(server.url)
        sync(tmp_path, [session], "--include-online")
        assert held(server) == everything(3)

"""Without a network, W&B's own files hold every record of a run once, over all of its sessions."""

import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from meta_train import Curves, Histogram, JsonLines, WandB, WandBOptions
from meta_train.trackers import read_json_lines

REPOSITORY = Path(__file__).parents[1]
OFFLINE = WandBOptions(mode="offline", project="lopt-tests")
RUN = "abcd1234"

wandb = pytest.importorskip("wandb")


def read(file):
    """Read a session's file by W&B's own reader."""
    command = [sys.executable, "-P", "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def session_files(directory):
    return sorted(directory.glob(f"wandb/offline-run-*/run-{RUN}.wandb"))


def of_type(kind, records):
    return [record[kind] for record in records if record["type"] == kind]


def sent(directory):
    """Return what `wandb sync` would send of all sessions, in order: (meta-step, loss)."""
    items = [item["item"] for file in session_files(directory) for item in of_type("history", read(file))]
    return [(item["meta_step"], item["meta/loss"]) for item in items]


def values(step):
    return {"meta/loss": 1 / (1 + step), "inner_steps": 100.0 * step, "meta/objective": math.nan}


def train(directory, resume_step, end, to_wandb=True):
    """Be a session of a run: go on from a checkpoint's step, log every step up to `end`, and close."""
    history = directory / "metrics.jsonl"
    trackers = [JsonLines(history, resume_step)]
    if to_wandb:
        trackers.append(WandB(directory, OFFLINE, {"sigma": 0.1}, RUN, history, resume_step))
    for step in range(resume_step + (resume_step > 0), end + 1):
        for tracker in trackers:
            tracker.log(step, values(step))
    for tracker in trackers:
        tracker.close()
    wandb.teardown()  # as at the end of a process: W&B's own has then written all


def everything(end):
    return [(step, values(step)["meta/loss"]) for step in range(end + 1)]


# --- one session -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """What a session of all kinds of values wrote, and where."""
    directory = tmp_path_factory.mktemp("run")
    optimizer = directory / "optimizer"
    optimizer.mkdir()
    (optimizer / "config.json").write_text("{}")
    other = wandb.init(mode="offline", dir=tmp_path_factory.mktemp("other"))  # somebody else's
    options = WandBOptions("offline", "lopt-tests", group="sweep", name="first", tags=("a", "b"), notes="why")
    with WandB(directory, options, {"sigma": 0.1, "git": {"commit": "c0ffee"}}, RUN) as tracker:
        tracker.log(0, values(0) | {"theta/histogram/w": Histogram((0.0, 0.5, 1.0), (3, 4))})
        curves = Curves((10.0, 20.0), {"learned": (1.0, math.nan), "tuned Adam": (2.0, 0.5)})
        tracker.log(10, values(10) | {"tasks/t/curve": curves})
        tracker.log_artifact(optimizer, "optimizer-abcd1234", "optimizer", {"meta_step": 10})
    other.finish()
    wandb.teardown()
    (file,) = session_files(directory)
    return directory, read(file)


def test_a_record_is_sent_once_without_what_is_not_finite(recorded):
    items = [item["item"] for item in of_type("history", recorded[1])]
    assert [item["meta_step"] for item in items] == [0, 10]
    assert [item["inner_steps"] for item in items] == [0, 1000]
    assert [item["meta/loss"] for item in items] == [1, 1 / 11]
    assert not any("meta/objective" in item for item in items)


def test_a_run_has_its_name_and_its_configuration(recorded):
    (run,) = of_type("run", recorded[1])
    expected = {"project": "lopt-tests", "run_id": RUN, "run_group": "sweep", "display_name": "first"}
    assert expected.items() <= run.items()
    assert (run["tags"], run["notes"]) == (["a", "b"], "why")
    config = {key: value for key, value in run["config"]["update"].items() if key != "_wandb"}
    assert config == {"sigma": 0.1, "git": {"commit": "c0ffee"}}


def test_histograms_and_curves_are_ws_and_bs_own(recorded):
    directory, records = recorded
    first, second = (item["item"] for item in of_type("history", records))
    assert first["theta/histogram/w._type"] == "histogram"
    assert first["theta/histogram/w.bins"] == [0, 0.5, 1]
    assert first["theta/histogram/w.values"] == [3, 4]
    files = session_files(directory)[0].parent / "files"
    assert second["tasks/t/curve._type"] == "image-file"
    assert (files / second["tasks/t/curve.path"]).read_bytes().startswith(b"\x89PNG")
    table = json.loads((files / second["tasks/t/curve_table.path"]).read_text())
    assert table["columns"] == ["inner_steps", "learned", "tuned Adam"]
    assert table["data"] == [[10, 1, 2], [20, None, 0.5]]


def test_the_axis_is_the_meta_step_and_minima_are_summarized(recorded):
    metrics = {metric.get("name") or metric["glob_name"]: metric for metric in of_type("metric", recorded[1])}
    assert metrics["*"]["step_metric"] == "meta_step"
    assert metrics["meta_step"]["options"]["hidden"]
    assert metrics["inner_steps"]["options"]["hidden"]
    for name in ("meta/loss", "meta/valid_objective"):
        assert metrics[name]["summary"]["min"]
        assert metrics[name]["step_metric"] == "meta_step"


def test_an_artifact_and_its_files_lie_in_the_run_directory(recorded):
    directory, records = recorded
    (artifact,) = [a for a in of_type("artifact", records) if a["type"] == "optimizer"]
    assert artifact["name"] == "optimizer-abcd1234"
    assert json.loads(artifact["metadata"]) == {"meta_step": 10}
    (content,) = artifact["manifest"]["contents"]
    assert content["path"] == "config.json"
    assert Path(content["local_path"]).is_relative_to(directory)
    assert Path(content["local_path"]).read_text() == "{}"


# --- several sessions ------------------------------------------------------------------------------------


def test_a_resumed_run_sends_nothing_twice_and_leaves_nothing_out(tmp_path):
    train(tmp_path, 0, 5)  # beyond the checkpoint at 4
    train(tmp_path, 4, 7)
    train(tmp_path, 5, 6)  # not as far as W&B is already
    train(tmp_path, 6, 9, to_wandb=False)
    train(tmp_path, 8, 9)
    assert sent(tmp_path) == everything(9)
    assert [step for step, _ in read_json_lines(tmp_path / "metrics.jsonl")] == list(range(10))


def test_a_run_that_begins_again_sends_meta_step_0_once(tmp_path):
    train(tmp_path, 0, 2)
    train(tmp_path, 0, 3)
    assert sent(tmp_path) == everything(3)


KILLED = """
    import os, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from tests import test_wandb_offline as sessions

    class Killed(sessions.WandB):
        def _finish(self):
            time.sleep(float(sys.argv[4]))
            os.kill(os.getpid(), signal.SIGKILL)

    sessions.WandB = Killed
    sessions.train(Path(sys.argv[2]), 0, int(sys.argv[3]))
"""


def train_and_be_killed(directory, end, flush_every, wait):
    """Be a session that logs every step up to `end`, and is killed instead of ending; return its file."""
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environment["WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL"] = str(flush_every)
    program = [sys.executable, "-c", textwrap.dedent(KILLED), REPOSITORY, directory, str(end), str(wait)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == -9, done.stderr
    (file,) = session_files(directory)
    return file


def test_what_killed_sessions_lost_is_sent_again(tmp_path):
    header_alone = train_and_be_killed(tmp_path, 5, flush_every=0, wait=0)
    assert header_alone.stat().st_size == 7
    train(tmp_path, 0, 30)
    (cut_short,) = session_files(tmp_path)
    os.truncate(cut_short, cut_short.stat().st_size - 5)  # W&B writes blocks of 32 KB out, not records
    train(tmp_path, 4, 7)
    assert sent(tmp_path) == everything(7)
    aside = sorted(folder.name for folder in (tmp_path / "wandb" / "superseded").iterdir())
    assert aside == [header_alone.parent.name, cut_short.parent.name]


def test_what_a_killed_session_kept_is_not_sent_again(tmp_path):
    kept = train_and_be_killed(tmp_path, 5, flush_every=0.1, wait=1.5)
    assert kept.stat().st_size > 7
    train(tmp_path, 4, 7)
    assert sent(tmp_path) == everything(7)
    assert not (tmp_path / "wandb" / "superseded").exists()
    assert len(session_files(tmp_path)) == 2


VARIABLES = {
    **{"WANDB_PROJECT": "project", "WANDB_ENTITY": "entity", "WANDB_NAME": "name"},
    **{"WANDB_RUN_GROUP": "group", "WANDB_TAGS": "a,b", "WANDB_NOTES": "notes"},
}


@pytest.mark.parametrize("flags", [False, True])
def test_the_environment_says_what_no_flag_does(tmp_path, monkeypatch, flags):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    flag = WandBOptions("offline", "p", "e", "g", "n", ("t",), "o") if flags else WandBOptions("offline")
    WandB(tmp_path, flag, {}, RUN).close()
    wandb.teardown()
    (file,) = session_files(tmp_path)
    (said,) = of_type("run", read(file))
    found = [said[key] for key in ("project", "entity", "run_group", "display_name", "tags", "notes")]
    if flags:
        assert found == ["p", "e", "g", "n", ["t"], "o"]
    else:
        assert found == ["project", "entity", "group", "name", ["a", "b"], "notes"]


def test_without_either_the_project_is_lopt(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    WandB(tmp_path, WandBOptions("offline"), {}, RUN).close()
    wandb.teardown()
    (file,) = session_files(tmp_path)
    assert of_type("run", read(file))[0]["project"] == "lopt"

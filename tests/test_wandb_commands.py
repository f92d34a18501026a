"""`lopt-train`, `lopt-export` and `lopt-eval` with W&B: one run, its artifacts, and its records once."""

import dataclasses
import json
import shlex
import subprocess
import sys

import pytest

from eval import SUITES
from eval.cli import main as lopt_eval
from meta_train import RunDirectory
from meta_train.commands import export as export_cli

from .small_runs import train_here

pytest.importorskip("wandb")
OPTIONS = shlex.split(
    "--particles 4 --window 5 --horizon-high 20 --validate-every 20 --validation-episodes 4 --devices 1 "
    "--reference-rates 3 --no-progress --tracker wandb --wandb-mode offline --wandb-project mine "
    "--wandb-group sweep --wandb-tags a b"
)


def read(file):
    """Read a session's file by W&B's own reader."""
    command = [sys.executable, "-P", "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_type(kind, records):
    return [record[kind] for record in records if record["type"] == kind]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """A run of 40 meta-steps, resumed for 20 more, and exported: where, its id, and what W&B holds."""
    path = tmp_path_factory.mktemp("runs") / "run"
    for steps in (40, 60):
        assert train_here("tiny", "--run-dir", path, *OPTIONS, "--steps", steps) == 0
    assert export_cli.main([str(path), str(path.parent / "out"), "--best", "--tracker", "wandb"]) == 0
    run_id = RunDirectory(path).read_identity()["id"]
    files = sorted(path.glob(f"wandb/offline-run-*/run-{run_id}.wandb"))
    return path, run_id, [read(file) for file in files]


def test_a_resumed_run_is_one_run_whose_records_are_those_of_its_metrics(sessions):
    path, run_id, held = sessions
    assert len(held) == 3
    assert {run["run_id"] for records in held for run in of_type("run", records)} == {run_id}
    items = [item["item"] for records in held for item in of_type("history", records)]
    lines = [json.loads(line) for line in RunDirectory(path).metrics.read_text().splitlines()]
    assert [item["meta_step"] for item in items] == [line["meta_step"] for line in lines]
    assert [item["meta_step"] for item in items] == list(range(0, 61, 10))
    for item, line in zip(items, lines, strict=True):
        numbers = {name: value for name, value in line.items() if not isinstance(value, dict)}
        assert {name: item[name] for name in numbers} == pytest.approx(numbers)


def test_the_run_says_what_it_is(sessions):
    path, _, held = sessions
    (run,) = of_type("run", held[0])
    assert (run["project"], run["run_group"], run["tags"]) == ("mine", "sweep", ["a", "b"])
    assert run["display_name"] == path.name
    text = json.dumps(run)
    assert "provenance" in text
    assert "commit" in text
    assert "sigma" in text


def test_optimizers_are_artifacts_of_the_run(sessions):
    _, run_id, held = sessions
    for records in held:  # at the end of each session, and by lopt-export
        artifacts = [one for one in of_type("artifact", records) if one["type"] == "optimizer"]
        (artifact,) = artifacts
        assert (artifact["name"], artifact["run_id"]) == ("run-optimizer", run_id)
        assert "meta_steps" in json.loads(artifact["metadata"])


def test_an_evaluation_is_a_run_with_numbers_curves_and_the_report(tmp_path, monkeypatch):
    one_task = dataclasses.replace(SUITES["quadratics"], entries=SUITES["quadratics"].entries[:1])
    monkeypatch.setitem(SUITES, "quadratics", one_task)
    monkeypatch.chdir(tmp_path)  # tuned baselines are kept in runs/tuned
    options = "--suite quadratics --seeds 2 --horizon 20 --tracker wandb --wandb-mode offline --out"
    assert lopt_eval(["adam", *options.split(), str(tmp_path / "out")]) == 0
    (file,) = tmp_path.glob("out/wandb/offline-run-*/*.wandb")
    records = read(file)
    (item,) = (item["item"] for item in of_type("history", records))
    assert item["eval/quadratic-20/speed_up/adam"] == 1
    assert item["eval/quadratic-20/mean_loss/adam"] < item["eval/quadratic-20/mean_loss/adam-1e-3"]
    assert item["eval/quadratic-20/curve._type"] == "image-file"
    names = {
        artifact["name"] for artifact in of_type("artifact", records) if artifact["type"] == "evaluation"
    }
    assert {"quadratics-eval.json", "quadratics-report.md"} <= names

"""`lopt-eval` compares, writes a report, and fails in one sentence."""

import dataclasses

import jax
import numpy as np
import pytest

import eval.protocol
import eval.training.optimizers
import tasks
from eval import BASELINES, SUITES, Entry, Results, suite
from eval.cli import Command, main
from eval.progress import Pace, duration
from eval.training.suites import HYPER_FREE
from lopt import LearnableAdam, read_config, save
from meta_train import Options, run_to_json

from .small_runs import trained_run


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty directory."""
    monkeypatch.chdir(tmp_path)


def one_sentence(capsys) -> str:
    """Return what was written to stderr, having checked that it is one line of the program's own."""
    text = capsys.readouterr().err
    assert text.startswith("lopt-eval: ")
    assert text.count("\n") == 1
    return text


def test_a_run_on_the_quadratics_writes_a_report_in_which_adam_is_as_fast_as_itself(
    tmp_path, capsys, monkeypatch
):
    one_task = dataclasses.replace(SUITES["quadratics"], entries=SUITES["quadratics"].entries[:1])
    monkeypatch.setitem(SUITES, "quadratics", one_task)
    save(LearnableAdam.create(jax.random.key(0), learning_rate=0.1), "mine", {"tasks": ["quadratic"]})
    arguments = ["mine", "adam", "--suite", "quadratics", "--seeds", "2", "--horizon", "20"]
    assert main(arguments) == 0
    out = tmp_path / "runs" / "eval" / "quadratics"
    assert {path.name for path in out.iterdir()} == {
        "eval.json",
        "report.html",
        "report.md",
        "quadratic-20.png",
    }
    results = Results.from_json((out / "eval.json").read_text())
    assert results.subjects == ("mine", "adam")
    assert [(task.task, task.horizon) for task in results.tasks] == [("quadratic", 20)]
    for task in results.tasks:
        assert [row.optimizer for row in task.rows] == ["mine", "adam", "sgd-momentum", "adam-1e-3"]
        assert task.row("adam").speed_up == (1.0, 1.0)
        assert task.row("adam").mean_loss <= task.row("adam-1e-3").mean_loss
        assert len(task.row("mine").train_curves[0]) == 20
    assert results.origins["mine"] == {"tasks": ["quadratic"]}
    assert results.environment["command"] == "lopt-eval " + " ".join(arguments)
    written = capsys.readouterr()
    assert "[0/4] adam, adam-1e-3 on quadratic (16 rates): compiling ...\n" in written.err
    assert "[3/4] timing on quadratic: compiling ... about" in written.err
    assert "[4/4] done" in written.err
    assert "runs/eval/quadratics/report.md" in written.out
    assert "mine has a lower mean training loss than tuned Adam on" in written.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["adma", "--suite", "digits"], "there is no optimizer 'adma'"),
        (["adma", "--suite", "digits"], "did you mean adam"),
        (["adam", "--suite", "digit"], "unknown suite 'digit'; did you mean digits?"),
        (["empty", "--suite", "digits"], "holds no optimizer"),
        (["run", "--suite", "digits"], "run holds no checkpoint"),
        (["adam", "--suite", "digits", "--out", "file/below"], "Not a directory"),
    ],
)
def test_bad_input_is_told_in_one_sentence(arguments, said, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(run_to_json(Options.of(task="quadratic").run()))
    (run / "run.json").write_text("{}")
    assert main(arguments) == 1
    assert said in one_sentence(capsys)


def test_missing_data_is_told_in_one_sentence_before_anything_runs(capsys):
    assert main(["adam", "--suite", "images"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("lopt-eval: data set 'mnist' is not prepared")
    assert "lopt-data prepare mnist" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["adam"],
        ["--suite", "digits"],
        ["adam", "--suite", "digits", "--seeds", "0"],
        ["adam", "--suite", "digits", "--horizon", "-5"],
        ["adam", "--suite", "digits", "--seed", "-1"],
        ["adam", "--suite", "digits", "--nonsense"],
    ],
)
def test_bad_usage_exits_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_ctrl_c_exits_with_130_and_says_what_to_type(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(eval.protocol, "tune", interrupted)
    assert main(["adam", "--suite", "quadratics"]) == 130
    assert capsys.readouterr().err.endswith(
        "stopped; finished results are kept in runs/tuned and runs/eval/quadratics/partial; to go on, type\n"
        "  lopt-eval adam --suite quadratics\n"
    )


def test_the_time_to_go_is_told_from_the_first_item_that_was_run():
    now = [0.0]
    pace = Pace(lambda: now[0])
    told = []
    for done, took in enumerate((0.1, 30.0, 90.0, 60.0)):
        told.append(pace.next(done, 4))
        now[0] += took
    assert told == [
        ("compiling ...", ""),
        ("compiling ...", ""),  # the first one was read from a file
        ("compiling ... about 30 s", "about 30 s to go"),
        ("compiling ... about 1 min", "about 40 s to go"),
    ]
    assert pace.next(4, 4) == ("", "")
    assert [duration(seconds) for seconds in (0.2, 59.4, 150, 5400)] == ["1 s", "59 s", "2 min", "1.5 h"]


def test_help_is_short_unless_all_is_asked_for(capsys):
    pages = []
    for option in ("--help", "--help-all"):
        assert main([option]) == 0
        pages.append(capsys.readouterr().out)
    short, whole = pages
    assert "more options: --help-all" in short
    assert "--wandb-entity" not in short
    flags = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Command)}
    assert flags - {"--optimizers", "--imports"} <= set(whole.replace(",", " ").split())


def test_help_names_suites_and_baselines(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in SUITES)
    assert all(name in text for name in BASELINES)


def test_a_run_directory_gives_its_newest_theta_and_says_what_it_was_trained_on(tmp_path):
    config = Options.of(
        task="noisy-quadratic",
        optimizer="learnable-adam",
        horizon="constant",
        horizon_high=10,
        window=5,
        particles=2,
        devices=1,
        steps=2,
        validation_episodes=1,
        reference_rates=0,
        hysteresis_particles=0,
    )
    _, thetas = trained_run(tmp_path, config)
    found = eval.training.optimizers.find(str(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, found.optimizer, thetas[-1])
    assert found.name == tmp_path.name
    assert found.origin["tasks"] == ["noisy-quadratic"]
    assert found.origin["inner_steps"] == 2 * 2 * 2 * 5


def test_a_published_name_says_what_it_was_trained_on():
    found = eval.training.optimizers.find("small")
    assert found.origin == read_config("small")["provenance"]
    assert "digits-mlp-family" in found.origin["tasks"]


def test_an_architecture_is_found_untrained():
    found = eval.training.optimizers.find("learnable-adam")
    expected = LearnableAdam.create(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, found.optimizer, expected)
    assert found.origin == {"meta_steps": 0}


def test_directories_whose_names_collide_are_called_as_they_were_typed():
    rule = LearnableAdam.create(jax.random.key(0))
    for path in ("a/small", "b/small", "adam", "other"):
        save(rule, path)
    names = ["a/small", "b/small", "./adam", "adam", "other", "other"]
    assert [found.name for found in eval.training.optimizers.find_all(names)] == [*names[:5]]
    assert eval.training.optimizers.find("adam").optimizer is BASELINES["adam"]


def test_every_suite_has_tasks_that_exist():
    for name, chosen in SUITES.items():
        assert suite(name) is chosen
        assert chosen.name == name
        assert chosen.entries
        assert all(entry.task in tasks.TASKS for entry in chosen.entries)
        assert {entry.horizon for entry in chosen.at_horizon(7).entries} == {7}
        for distinct in (chosen, chosen.at_horizon(7)):
            asked = [(entry.task, entry.horizon, entry.declared) for entry in distinct.entries]
            assert len(set(asked)) == len(asked)


def test_hyper_free_joins_suites_and_tells_which():
    joined = SUITES["hyper-free"].entries
    assert {entry.part for entry in joined} == set(HYPER_FREE)
    for name in HYPER_FREE:
        assert tuple(entry for entry in joined if entry.part == name) == SUITES[name].entries


def test_a_wrong_horizon_is_half_and_twice_the_true_one_of_runs_that_are_there_anyway():
    told = [entry.declared_steps / entry.horizon for entry in SUITES["wrong-horizon"].entries]
    assert set(told) == {0.5, 2}
    true = {(entry.task, entry.horizon) for entry in SUITES["hyper-free"].entries if entry.declared == 1}
    assert all((entry.task, entry.horizon) in true for entry in SUITES["wrong-horizon"].entries)
    assert Entry("quadratic", 1, 0.1).declared_steps == 1


def test_a_learned_optimizer_may_not_take_a_baselines_name():
    rule = LearnableAdam.create(jax.random.key(0))
    with pytest.raises(ValueError, match="'adam' is the name of a baseline"):
        eval.protocol.benchmark({"adam": rule}, suite("quadratics"))

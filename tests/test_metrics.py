"""What a run logs is what the list of metrics says: no more, and no less."""

import json
import re

import pytest

import lopt
from meta_train import METRICS, RunDirectory
from meta_train.trackers.dashboard import panel_metrics, read_subject
from meta_train.trackers.metrics import grouped

from .small_runs import train_here

OPTIONS = (
    "--particles 4 --window 5 --horizon-high 20 --steps 60 --validate-every 20 --validation-episodes 4 "
    "--checkpoint-every 20 --reference-rates 3 --hysteresis-particles 2 --devices 1 --no-progress"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a short run."""
    path = tmp_path_factory.mktemp("runs") / "run"
    assert train_here("tiny", "--run-dir", path, *OPTIONS.split()) == 0
    return path


@pytest.fixture(scope="module")
def logged(run):
    """Its records, by meta-step."""
    lines = [json.loads(line) for line in RunDirectory(run).metrics.read_text().splitlines()]
    return {line.pop("meta_step"): line for line in lines}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The directory of a short run on two tasks, judged on one of them and on another."""
    path = tmp_path_factory.mktemp("runs") / "mixed"
    more = "--task quadratic noisy-quadratic --validate-on quadratic:40 digits-mlp"
    assert train_here("tiny", "--run-dir", path, *OPTIONS.split(), *more.split()) == 0
    return path


def names_in(run):
    return {name for line in RunDirectory(run).metrics.read_text().splitlines() for name in json.loads(line)}


def pattern(name, task="quadratic"):
    return re.compile(re.escape(name).replace(r"\{task\}", task).replace(r"\{leaf\}", r"[a-z0-9_.]+"))


OF_A_MIXTURE = {"loss", "objective", "diverged", "particle_norm", "scale"}
OF_A_VALIDATION = {"curve", "final_loss"}
OF_SEVERAL = {"valid_objective", "tuned_adam"}


def test_every_metric_of_a_run_is_listed(run, mixed):
    names = names_in(run) | names_in(mixed)
    known = [pattern(name, "((noisy-)?quadratic(-40)?|digits-mlp)") for name in (*METRICS, "meta_step")]
    assert not [name for name in names if not any(one.fullmatch(name) for one in known)]


def test_every_metric_in_the_list_is_logged(run, mixed):
    names = names_in(run) | names_in(mixed)
    missing = [known for known in METRICS if not any(pattern(known, ".+").fullmatch(name) for name in names)]
    # Adam's four numbers have no distribution; `test_tuning.py` has a run that tunes hyperparameters.
    assert missing == ["theta/histogram/{leaf}", "tuned/{leaf}"]


def test_a_mixture_logs_more_of_each_task_and_a_single_task_nothing_twice(run, mixed):
    assert {name for name in names_in(run) if name.startswith("tasks/")} == {
        f"tasks/quadratic/{metric}" for metric in OF_A_VALIDATION
    }
    assert {name for name in names_in(mixed) if name.startswith("tasks/")} == {
        *(f"tasks/{task}/{metric}" for task in ("quadratic", "noisy-quadratic") for metric in OF_A_MIXTURE),
        *(
            f"tasks/{label}/{metric}"
            for label in ("quadratic-40", "digits-mlp")
            for metric in OF_A_VALIDATION | OF_SEVERAL
        ),
    }
    assert names_in(run) - names_in(mixed) == {f"tasks/quadratic/{metric}" for metric in OF_A_VALIDATION}


@pytest.mark.parametrize("kind", ["run", "mixed"])
def test_the_dashboard_shows_what_the_run_logs_and_nothing_else(kind, request):
    path = request.getfixturevalue(kind)
    names = names_in(path) - {"meta_step"}
    shown = panel_metrics(read_subject(path))
    assert shown - {"theta/histogram/{leaf}"} <= names
    assert names - shown <= {"inner_steps"}  # an axis


def test_validations_come_with_curves_of_theta_and_of_tuned_adam(logged):
    validated = [step for step, values in logged.items() if "meta/valid_objective" in values]
    assert validated == [0, 20, 40, 60]
    for step in validated:
        curve = logged[step]["tasks/quadratic/curve"]
        assert curve["steps"] == [5, 10, 15, 20]
        assert curve["lines"].keys() == {"learned", "tuned Adam"}
        assert logged[step]["tasks/quadratic/final_loss"] == curve["lines"]["learned"][-1]
        # Of the mean loss, this objective; a window's mean is a point.
        mean = sum(curve["lines"]["learned"]) / 4
        assert mean == pytest.approx(logged[step]["meta/valid_objective"], rel=1e-5)
    adams = {logged[step]["meta/tuned_adam"] for step in validated}
    assert len(adams) == 1
    assert adams.pop() == pytest.approx(sum(curve["lines"]["tuned Adam"]) / 4, rel=1e-5)


def test_inner_steps_are_counted(logged):
    assert logged[60]["inner_steps"] == 60 * 4 * 2 * 5  # meta-steps, particles, members, window


def test_shares_are_shares_and_times_make_sense(logged):
    for values in logged.values():
        for name, value in values.items():
            if name.startswith("robust/") or name in ("time/host_share", "meta/finished"):
                assert 0 <= value <= 1, name
            if name.startswith("time/"):
                assert value >= 0, name
    assert logged[60]["time/eta_seconds"] == 0


def test_leaves_of_a_network_are_logged_as_distributions():
    import jax

    from meta_train import Histogram
    from meta_train.runs.evaluation import describe

    values = describe(lopt.create("star", jax.random.key(0)))
    assert all(re.fullmatch(r"theta/(value|histogram)/[a-z0-9_.]+", name) for name in values)
    counts = [sum(value.counts) for value in values.values() if isinstance(value, Histogram)]
    assert sum(counts) + sum(not isinstance(value, Histogram) for value in values.values()) == 411


def test_what_nobody_knows_is_an_estimators_own():
    assert grouped({"loss": 1, "odd": 2, "tasks/x/curve": 3, "theta_norm": 4}) == {
        "meta/loss": 1,
        "estimator/odd": 2,
        "tasks/x/curve": 3,
        "theta/norm": 4,
    }

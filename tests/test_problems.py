"""A run can be about anything that is a problem: resumed, judged, compared, and published alike."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from meta_train import (
    PES,
    PROBLEMS,
    ConstantHorizon,
    Dynamics,
    LearnedOptimizerTraining,
    Loop,
    Method,
    Placement,
    Problem,
    Rival,
    Run,
    RunDirectory,
    RunDirectoryError,
    SystemProblem,
    Trainer,
    Training,
    Trial,
    export_run,
    load_theta,
    read_run,
    read_theta,
    run_from_json,
    run_to_json,
    save_theta,
    systems,
)
from meta_train.commands import export, session, train
from meta_train.runs.references import read_references

from .small_runs import train_here


class Descent(Dynamics):
    """Gradient descent on x^2 / 2 under a learning rate and a momentum that theta holds."""

    curvature: float = struct.field(pytree_node=False, default=1.0)

    def init(self, theta, horizon, key):
        return jnp.ones(()), jnp.zeros(())

    def step(self, theta, state, key):
        x, speed = state
        speed = (
            jax.nn.sigmoid(theta["logit_momentum"]) * speed - jnp.exp(theta["log_rate"]) * self.curvature * x
        )
        return (x + speed, speed), (x + speed) ** 2 / 2


@dataclasses.dataclass(frozen=True)
class Tuning(Problem):
    """The whole of another kind of run: theta is a dict of floats."""

    log_rate: float = -5.0
    """Where the rate starts."""
    curvatures: tuple[float, ...] = (1.0,)
    """Of the parabolas."""

    @property
    def names(self):
        return tuple(f"parabola-{curvature:g}" for curvature in self.curvatures)

    def members(self):
        found = zip(self.names, self.curvatures, strict=True)
        return {name: Training(Descent(curvature=curvature)) for name, curvature in found}

    def theta(self, key):
        return {"log_rate": jnp.asarray(self.log_rate), "logit_momentum": jnp.asarray(0.0)}

    def rivals(self, candidates):
        grid = jnp.linspace(-5.0, 0.0, candidates)
        thetas = {"log_rate": grid, "logit_momentum": jnp.full(candidates, -20.0)}
        return (Rival("plain", "plain descent", thetas, tuple(map(float, grid))),)

    def publish(self, theta, directory, origin):
        return save_theta(theta, directory, "tuning", self.about(), origin)


@pytest.fixture(autouse=True)
def registered():
    PROBLEMS.register("tuning")(Tuning)
    yield
    PROBLEMS.pop("tuning")


RUN = Run(
    Tuning(),
    Method(PES(ConstantHorizon(20), 5, sigma=0.1), particles=8, learning_rate=0.1, warmup=0),
    Loop(steps=60, validate_every=30, validation_episodes=1, reference_rates=6, steps_per_call=10),
    Placement(devices=1),
)


def drive(path, run=RUN, stop_at=None):
    directory = RunDirectory(path)
    directory.open(run, "lopt-train --problem tuning")
    trainer = Trainer(run, directory)
    records = list(trainer.records(lambda: trainer.meta_step == stop_at))
    trainer.close()
    return jax.device_get(trainer.theta), records


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    PROBLEMS.register("tuning")(Tuning)
    try:
        path = tmp_path_factory.mktemp("problems") / "run"
        return path, *drive(path)
    finally:
        PROBLEMS.pop("tuning")


def test_theta_may_be_a_dict_of_floats_and_gets_better(whole):
    path, theta, records = whole
    assert theta.keys() == {"log_rate", "logit_momentum"}
    first, last = (records[i].values["meta/valid_objective"] for i in (0, -1))
    assert last < 0.7 * first
    assert records[-1].values["theta/value/log_rate"] == pytest.approx(float(theta["log_rate"]))
    assert run_from_json(RunDirectory(path).config.read_text()) == RUN


def test_it_resumes_to_the_bit(whole, tmp_path):
    drive(tmp_path / "run", stop_at=20)
    theta, _ = drive(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, theta, whole[1])


def test_rivals_are_judged_on_the_same_episodes(whole):
    """Descent multiplies x by 1 - rate: the best of the grid is the largest, 1, and then x is 0."""
    _, _, records = whole
    assert records[0].values["meta/plain"] == pytest.approx(0, abs=1e-12)
    curves = records[0].values["tasks/parabola-1/curve"]
    assert curves.lines.keys() == {"learned", "plain descent"}


def test_its_theta_is_published_and_read(whole, tmp_path):
    path, theta, _ = whole
    out = export_run(path, tmp_path / "out")
    read = load_theta(out)
    assert {name: float(x) for name, x in read.items()} == {name: float(x) for name, x in theta.items()}
    assert json.loads((out / "config.json").read_text())["provenance"]["inner_steps"] == 60 * 8 * 2 * 5
    read, origin = read_theta(path)
    jax.tree.map(np.testing.assert_array_equal, read, theta)
    assert (origin["trained_on"], origin["estimator"]) == (["parabola-1"], "pes")
    with pytest.raises(RunDirectoryError, match="trains parabola-1: it holds no learned optimizer"):
        read_run(path)


def test_a_published_theta_that_was_altered_is_refused(whole, tmp_path):
    out = export_run(whole[0], tmp_path / "out")
    weights = (out / "theta.safetensors").read_bytes()
    (out / "theta.safetensors").write_bytes(weights[:-1] + b"\x7f")
    with pytest.raises(ValueError, match="is truncated or was altered"):
        load_theta(out)
    for content in ("", "[]", '{"format": 1}'):
        (out / "config.json").write_text(content)
        with pytest.raises(ValueError, match="holds no theta"):
            load_theta(out)
    with pytest.raises(ValueError, match="log_rate is not finite"):
        save_theta({"log_rate": jnp.nan}, out, "tuning", {}, {})


def test_a_mixture_of_its_members_has_a_scale_each(tmp_path):
    run = dataclasses.replace(RUN, problem=Tuning(curvatures=(1.0, 0.1)))
    _, records = drive(tmp_path / "run", run.replace(steps=20, validate_every=20))
    assert {"tasks/parabola-1/scale", "tasks/parabola-0.1/plain"} <= records[-1].values.keys()


# --- as a command ----------------------------------------------------------------------------------------


def test_its_fields_are_options_of_the_command(tmp_path, capsys):
    line = "--problem tuning --log-rate -3 --window 5 --horizon constant --horizon-high 10 --steps 2"
    line += " --particles 2 --devices 1"
    rest = "--reference-rates 2 --hysteresis-particles 0 --validation-episodes 1 --run-dir"
    assert train_here(*line.split(), *rest.split(), tmp_path / "run") == 0
    assert RunDirectory(tmp_path / "run").read_config().problem == Tuning(log_rate=-3.0)
    assert "lopt-export" in capsys.readouterr().err
    assert export.main([str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    assert "use it with meta_train.load_theta" in capsys.readouterr().out
    assert train_here(*line.replace("-3", "-4").split(), *rest.split(), tmp_path / "run") == 1
    assert "--log-rate was -3.0, now -4.0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train.main(["--problem", "tuning", "--task", "quadratic", "--run-dir", str(tmp_path / "other")])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--problem tunin", "unknown problem 'tunin'; did you mean tuning"),
        ("--problem copytask", "unknown problem 'copytask'; did you mean copy-task"),
        ("--problem swimmer --system-options depth=3", "system swimmer has no depth: it takes spread"),
        ("--problem system --system swim", "unknown system 'swim'; did you mean swimmer"),
        ("--problem copy-task --system-options hidden", "--system-options takes NAME=VALUE"),
    ],
)
def test_what_does_not_exist_is_told_in_one_sentence(tmp_path, capsys, line, told):
    assert train_here(*line.split(), "--run-dir", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_what_a_run_is_called_where_it_is_published():
    assert session.theta_kind(RUN) == "theta"
    assert session.theta_kind(dataclasses.replace(RUN, problem=LearnedOptimizerTraining())) == "optimizer"


# --- systems ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(systems.SYSTEMS.keys() - {"gymnasium-swimmer"}))
def test_every_system_is_a_problem(name):
    """Its first theta fits its dynamics: a step gives a finite loss."""
    problem = SystemProblem(name)
    theta = problem.theta(jax.random.key(0))
    dynamics = problem.members()[name].dynamics
    state = dynamics.init(theta, jnp.asarray(20), jax.random.key(1))
    assert jnp.isfinite(dynamics.step(theta, state, jax.random.key(2))[1])
    run = Run(problem, RUN.method)
    assert run_from_json(run_to_json(run)) == run
    assert problem.trials(RUN.method.estimator) == (Trial(name, dynamics, 20, 1.0),)


def test_options_of_a_system_reach_it():
    problem = SystemProblem("copy-task", ("hidden=3", "batch=2"))
    assert problem.theta(jax.random.key(0)).decoder.shape == (3,)
    assert problem.members()["copy-task"].dynamics.batch == 2
    with pytest.raises(ValueError, match="system copy-task: hidden must be a whole number above 0, not -3"):
        SystemProblem("copy-task", ("hidden=-3",)).theta(jax.random.key(0))


def test_a_system_of_ones_own_is_a_problem():
    @systems.register_system("my-parabola")
    def make(curvature: float = 1.0):
        return Descent(curvature=curvature), Tuning().theta

    try:
        problem = SystemProblem("my-parabola", ("curvature=0.5",))
        assert problem.members()["my-parabola"].dynamics == Descent(curvature=0.5)
        with pytest.raises(ValueError, match="registered already"):
            systems.register_system("my-parabola")(make)
    finally:
        systems.SYSTEMS.pop("my-parabola")


# --- what is kept of rivals ------------------------------------------------------------------------------


def test_odd_references_are_judged_anew(whole, tmp_path):
    file = RunDirectory(whole[0]).reference
    options = {"episodes": 1, "rates": 6}
    found = read_references(file, options, ["plain"], {"parabola-1": 4})
    assert found is not None
    assert found["plain"]["parabola-1"].setting == 0.0
    assert read_references(file, options | {"rates": 7}, ["plain"], {"parabola-1": 4}) is None
    assert read_references(file, options, ["other"], {"parabola-1": 4}) is None
    assert read_references(file, options, ["plain"], {"parabola-2": 4}) is None


def test_what_is_trained_on_and_judged_on_is_made_once():
    """A task may hold a data set."""
    problem = LearnedOptimizerTraining(task=("quadratic",), validate_on=("quadratic:40", "noisy-quadratic"))
    trained, judged = problem.members()["quadratic"].dynamics, problem.trials(RUN.method.estimator)
    assert judged[0].dynamics is trained
    assert judged[1].dynamics is not trained
    assert problem == LearnedOptimizerTraining(problem.task, validate_on=problem.validate_on)

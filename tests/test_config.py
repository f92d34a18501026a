"""A run's configuration round-trips, compares, and refuses what makes no sense."""

import dataclasses
import inspect
import json
import math

import pytest

import lopt
from meta_train import (
    HORIZONS,
    OBJECTIVES,
    PES,
    PRESETS,
    ConstantHorizon,
    LearnedOptimizerTraining,
    LogUniformHorizon,
    Loop,
    MeanLogLoss,
    Method,
    MethodOptions,
    Options,
    Placement,
    Run,
    Show,
    SystemProblem,
    build,
    get_preset,
    run_from_json,
    run_to_json,
)
from meta_train.config.differences import differences
from meta_train.config.options import flag_of
from meta_train.problems.options import parse_options

GROUPS = (LearnedOptimizerTraining, SystemProblem, MethodOptions, Loop, Placement, Show)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_round_trips_through_json(name):
    run = get_preset(name).run()
    read = run_from_json(run_to_json(run))
    assert read == run
    assert hash(read) == hash(run)
    assert not differences(read, run)
    fields = {field.name for field in dataclasses.fields(run)}
    assert json.loads(run_to_json(run)).keys() == {"format"} | fields


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_documented_and_fits_together(name, tmp_path, monkeypatch):
    """Its numbers make an estimator; only data may be missing, and what an earlier phase exports."""
    monkeypatch.chdir(tmp_path)
    problem = get_preset(name).problem
    assert isinstance(problem, LearnedOptimizerTraining)
    if (earlier := problem.init_from) is not None:
        lopt.save(build(get_preset(earlier).replace(devices=1).run()).theta, tmp_path / earlier, {})
    assert (PRESETS[name].__doc__ or "").strip()
    options = get_preset(name).replace(task=("quadratic",), task_weights=(), task_particles=())
    options = options.replace(validate_on=(), devices=1)
    assert build(options.run()).estimator.window == options.method.window


@pytest.mark.parametrize("name", lopt.ARCHITECTURES)
def test_every_architecture_has_a_preset(name):
    problems = [make().problem for make in PRESETS.values()]
    assert name in {one.optimizer for one in problems if isinstance(one, LearnedOptimizerTraining)}


def test_values_of_every_kind_survive_json():
    options = Options.of(
        optimizer_options=("hidden_size=8", "name=a b"),
        init_from="x",
        devices=3,
        chunk=2,
        wandb_tags=("a", "b c"),
        estimator_options=("credit=total",),
        objective="mean-log",
        objective_options=("floor=0.5",),
        particle_clip=2,
    )
    run = options.run()
    assert run_from_json(run_to_json(run)) == run
    assert run.method.estimator.objective == MeanLogLoss(0.5)


def test_a_run_is_made_of_objects_too():
    """What flags say, said in Python."""
    made = Run(
        LearnedOptimizerTraining(task=("quadratic",), optimizer="learnable-adam"),
        Method(PES(LogUniformHorizon(40, 80), 10, sigma=0.1), particles=4),
        Loop(steps=7),
    )
    options = Options.of(task=("quadratic",), optimizer="learnable-adam", horizon_low=40, horizon_high=80)
    assert made == options.replace(window=10, sigma=0.1, particles=4, steps=7).run()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[]",
            "3",
            "null",
            '{"window": "wide"}',
            '{"window": -1}',
            '{"particles": null}',
            "[" * 100_000,
        ),
        *(
            '{"depth": 3}',
            '{"format": true}',
            '{"format": null}',
            '{"format": []}',
            '{"format": "lopt-run 2"}',
        ),
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(ValueError, match="^not the configuration of a run"):
        run_from_json(text)


def paths_in(value, path=()):
    """Every place in nested dicts."""
    for name, one in value.items():
        yield (*path, name)
        if isinstance(one, dict):
            yield from paths_in(one, (*path, name))


TINY = json.loads(run_to_json(get_preset("tiny").run()))


@pytest.mark.parametrize("path", [path for path in paths_in(TINY) if path != ("format",)], ids=".".join)
@pytest.mark.parametrize("odd", [[[]], {"x": 1}, [None], 1.5e308, -1, "\x1b[2J", True, [{}]], ids=str)
def test_an_odd_value_anywhere_is_refused_in_one_sentence_or_is_a_value(path, odd):
    values = json.loads(json.dumps(TINY))
    place = values
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = odd
    try:
        read = run_from_json(json.dumps(values))
    except ValueError as error:
        told = str(error)
    else:
        told = "not the configuration of a run"
        assert run_from_json(run_to_json(read)) == read
    assert told.startswith("not the configuration of a run")
    assert told.isprintable()


def test_the_flat_configuration_of_an_older_run_is_read():
    older = {"task": "quadratic", "window": 5, "horizon": "constant", "horizon_high": 10, "sigma": 0.5}
    expected = Options.of(task=("quadratic",), window=5, horizon="constant", horizon_high=10, sigma=0.5).run()
    assert run_from_json(json.dumps(older)) == expected
    assert run_from_json(json.dumps({"format": "lopt-run 1"} | older)) == expected


def test_the_configuration_of_a_published_optimizer_or_of_a_newer_run_is_called_what_it_is():
    with pytest.raises(ValueError, match="it is a published optimizer's"):
        run_from_json('{"format": 1, "architecture": "star"}')
    with pytest.raises(
        ValueError, match="its format is 'lopt-run 3', and this version of lopt reads 'lopt-run 2'"
    ):
        run_from_json('{"format": "lopt-run 3"}')


# --- what may change -------------------------------------------------------------------------------------


def test_differences_name_the_option_and_both_values():
    assert differences(Options().run(), Options.of(sigma=0.5, horizon_high=400).run()) == [
        "--horizon-high was 200, now 400",
        "--sigma was 0.01, now 0.5",
    ]
    constant = Options.of(horizon="constant", estimator_options=("credit=total",)).run()
    assert differences(Options().run(), constant) == [
        "--horizon was 'log-uniform', now 'constant'",
        "--horizon-low was 100, now None",
        "--horizon-high was 200, now None",
        "--estimator-options: credit was 'causal', now 'total'",
        "--horizon-high was None, now 200",
    ]
    assert differences(Options().run(), Options(SystemProblem("swimmer")).run())[0] == (
        "--problem was 'learned-optimizer', now 'system'"
    )


def test_what_does_not_decide_the_result_may_change():
    changes = {
        **{"steps": 7, "steps_per_call": 7, "checkpoint_every": 7, "validate_every": 7, "keep_last": 7},
        **{"validation_episodes": 7, "reference_rates": 7, "hysteresis_particles": 7},
        **{"checkpoint_seconds": 7.0, "keep_hours": 7.0, "progress": False, "tracker": "wandb"},
        **{"wandb_mode": "offline", "wandb_project": "mine", "wandb_entity": "us", "wandb_group": "sweep"},
        **{"wandb_name": "first", "wandb_tags": ("a",), "wandb_notes": "why"},
        **{"devices": 7, "backend": "pmap", "chunk": 7, "reduction": "ordered"},
    }
    may = {field.name for group in (Loop, Placement, Show) for field in dataclasses.fields(group)}
    assert changes.keys() == may  # a change of this set is a decision
    assert not differences(Options().run(), Options.of(**changes).run())
    assert Options().run().replace(**changes) == Options.of(**changes).run()
    with pytest.raises(TypeError):
        Options().run().replace(window=5)


@pytest.mark.parametrize(
    ("task", "given", "bound"),
    [
        (("quadratic",), None, None),
        (("quadratic",), 2.0, 2.0),
        (("quadratic", "digits-mlp"), None, 3.0),
        (("quadratic", "digits-mlp"), 7.0, 7.0),
    ],
)
def test_estimates_are_not_clipped_unless_asked_for_or_in_a_mixture(task, given, bound):
    """A clip weighs loud windows down, so that an estimator without bias has one."""
    assert Options.of(task=task, particle_clip=given).run().particle_bound == bound


# --- options ---------------------------------------------------------------------------------------------


def test_options_have_one_name_each():
    names = [field.name for group in GROUPS for field in dataclasses.fields(group)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_is_documented(group):
    """`lopt-train --help` shows the string below each field."""
    source = "".join(inspect.getsource(cls) for cls in group.__mro__ if dataclasses.is_dataclass(cls))
    for field in dataclasses.fields(group):
        after = source.split(f"\n    {field.name}: ", 1)[1].split("\n", 1)[1]
        assert after.lstrip().startswith('"""')


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("sigma", -0.1, "must be positive, not -0.1"),
        ("sigma", 0.0, "must be positive, not 0.0"),
        ("sigma", 1e308, "must be at most 1e[+]18, not 1e[+]308"),
        ("sigma", math.nan, "must be a finite number, not nan"),
        ("learning_rate", math.nan, "must be a finite number, not nan"),
        ("learning_rate", math.inf, "must be a finite number, not inf"),
        ("keep_hours", math.inf, "must be a finite number, not inf"),
        ("checkpoint_seconds", math.nan, "must be a finite number, not nan"),
        ("final_rate", math.nan, "must be a finite number, not nan"),
        ("final_rate", -1, "must not be negative, not -1"),
        ("warmup", -1, "must not be negative, not -1"),
        ("seed", -1, "must not be negative, not -1"),
        ("seed", 2**63, "must be at most 4294967295, not 9223372036854775808"),
        ("window", 0, "must be at least 1, not 0"),
        ("particles", -4, "must be at least 1, not -4"),
        ("particles", 2**32, "must be at most 1048576, not 4294967296"),
        ("task_particles", (4, 2**32), "must be at most 1048576, not 4294967296"),
        ("validation_episodes", 2**32, "must be at most 1048576, not 4294967296"),
        ("steps", 0, "must be at least 1, not 0"),
        ("steps", 2**31, "must be at most 2147483647, not 2147483648"),
        ("particle_clip", math.nan, "must be a finite number, not nan"),
        ("devices", 0, "must be at least 1, not 0"),
    ],
)
def test_numbers_out_of_range_are_refused_by_their_option(name, value, complaint):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} {complaint}"):
        Options.of(**{name: value})


@pytest.mark.parametrize("name", ["warmup", "final_rate", "seed"])
def test_zero_is_not_negative(name):
    assert getattr(Options.of(**{name: 0}).method, name) == 0


@pytest.mark.parametrize("weight", [math.nan, math.inf, 0.0, -1.0])
def test_weights_must_be_positive(weight):
    with pytest.raises(ValueError, match="--task-weights must be positive"):
        Options.of(task=("a", "b"), task_weights=(1.0, weight))


def test_options_are_python_literals_or_else_strings():
    parsed = parse_options(
        ("size=8", "rate=1e-3", "flag=True", "name=relu", "pair=(1, 2)", "text=a=b"), "--o"
    )
    assert parsed == {"size": 8, "rate": 1e-3, "flag": True, "name": "relu", "pair": (1, 2), "text": "a=b"}


@pytest.mark.parametrize("option", ["optimizer", "estimator", "horizon", "objective"])
@pytest.mark.parametrize("pair", ["hidden_size", "=8", ""])
def test_options_without_name_or_value_are_refused(pair, option):
    with pytest.raises(ValueError, match=f"--{option}-options takes NAME=VALUE, as in hidden_size=8"):
        Options.of(**{f"{option}_options": (pair,)})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"estimator_options": ("window=8",)}, "--estimator-options can't set window, which --window sets"),
        ({"horizon_options": ("low=8",)}, "--horizon-options can't set low, which --horizon-low sets"),
        ({"horizon_options": ("depth=8",)}, "horizon log-uniform has no depth: it takes low, high"),
        ({"objective_options": ("floor=8",)}, "objective mean has no floor: it takes no options"),
        ({"estimator_options": ("depth=8",)}, "estimator pes has no depth: it takes horizon, window"),
        ({"estimator": "pse"}, "unknown estimator 'pse'; did you mean pes"),
        ({"horizon": "constan"}, "unknown horizon 'constan'; did you mean constant"),
        ({"objective": "mea"}, "unknown objective 'mea'; did you mean mean"),
        ({"horizon_high": 210}, "a window of 20 inner steps does not divide a horizon of 210"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Options.of(**options).run()


def test_unknown_presets_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown preset 'dem'; did you mean demo"):
        get_preset("dem")
    with pytest.raises(ValueError, match="andrychowicz2016-lstm or celo-adam or .* or demo or "):
        get_preset("zzz")


def test_an_option_that_an_architecture_does_not_take_is_refused():
    options = get_preset("tiny").replace(optimizer_options=("hidden_size=8",))
    with pytest.raises(ValueError, match="optimizer learnable-adam: .*hidden_size"):
        build(options.run())


def test_paths_are_told_by_their_options():
    assert flag_of("estimator.horizon.steps") == "--horizon-high"
    assert flag_of("estimator.horizon.kind") == "--horizon"
    assert flag_of("estimator.objective.floor") == "--objective-options: floor"
    assert flag_of("problem.task") == "--task"


# --- a user's own ----------------------------------------------------------------------------------------


def test_a_horizon_and_an_objective_of_ones_own_are_options_and_go_through_json():
    @dataclasses.dataclass(frozen=True)
    class Even(ConstantHorizon):
        spare: int = 0

    @dataclasses.dataclass(frozen=True)
    class Half(MeanLogLoss):
        pass

    try:
        HORIZONS.register("even")(Even)
        OBJECTIVES.register("half")(Half)
        own = {"horizon": "even", "horizon_options": ("spare=3",), "objective": "half"}
        run = Options.of(**own, objective_options=("floor=0.25",)).run()
        assert run.method.estimator.horizon == Even(200, 3)
        assert run.method.estimator.objective == Half(0.25)
        assert run_from_json(run_to_json(run)) == run
    finally:
        HORIZONS.pop("even", None)
        OBJECTIVES.pop("half", None)


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (int, "is not a subclass of Horizon"),
        (lambda: None, "is not a subclass of Horizon"),
        (type("Loose", (ConstantHorizon,), {}), "needs @dataclasses.dataclass"),
        (dataclasses.dataclass(frozen=True)(type("Bare", (HORIZONS.base,), {})), "lacks bounds, sample"),
    ],
)
def test_what_is_no_horizon_is_not_registered(made, complaint):
    with pytest.raises(ValueError, match=complaint):
        HORIZONS.register("new")(made)
    assert "new" not in HORIZONS


@pytest.mark.parametrize("name", ["constant", "", " ", 3, None])
def test_odd_and_taken_names_are_refused(name):
    with pytest.raises(ValueError, match="registered already|is not a name to register"):
        HORIZONS.register(name)(ConstantHorizon)

"""A run's configuration round-trips, compares, and refuses what makes no sense."""

import dataclasses
import inspect
import json
import math

import pytest

from meta_train import PRESETS, RunConfig, build, get_preset
from meta_train.config.run import MAY_CHANGE, differences, parse_options


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_round_trips_through_json(name):
    config = get_preset(name)
    read = RunConfig.from_json(config.to_json())
    assert read == config
    assert hash(read) == hash(config)
    assert not differences(read, config)
    fields = {field.name for field in dataclasses.fields(config)}
    assert json.loads(config.to_json()).keys() == {"format"} | fields


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_documented_and_fits_together(name):
    """Its numbers make an estimator; only data may be missing."""
    assert (PRESETS[name].__doc__ or "").strip()
    config = dataclasses.replace(get_preset(name), task=("quadratic",), task_weights=(), task_particles=())
    config = dataclasses.replace(config, validate_on=(), devices=1)
    assert build(config).estimator.window == config.window


def test_values_of_every_kind_survive_json():
    config = RunConfig(
        optimizer_options=("hidden_size=8", "name=a b"),
        init_from="x",
        devices=3,
        chunk=2,
        wandb_tags=("a", "b c"),
    )
    assert RunConfig.from_json(config.to_json()) == config


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
        *('{"depth": 3}', '{"format": true}', '{"format": null}', '{"format": []}'),
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(ValueError, match="^not the configuration of a run"):
        RunConfig.from_json(text)


def test_a_configuration_says_that_it_is_a_runs_and_older_ones_are_read_without_that():
    config = RunConfig(sigma=0.5)
    values = json.loads(config.to_json())
    assert values.pop("format") == "lopt-run 1"
    assert RunConfig.from_json(json.dumps(values)) == config


def test_the_configuration_of_a_published_optimizer_or_of_a_newer_run_is_called_what_it_is():
    with pytest.raises(ValueError, match="it is a published optimizer's"):
        RunConfig.from_json('{"format": 1, "architecture": "star"}')
    with pytest.raises(ValueError, match="its format is 'lopt-run 2', and this version of lopt reads 'lopt-"):
        RunConfig.from_json('{"format": "lopt-run 2"}')


def test_differences_name_the_option_and_both_values():
    old, new = RunConfig(), RunConfig(sigma=0.5, horizon_high=400)
    assert differences(old, new) == [
        "--sigma was 0.01, now 0.5",
        "--horizon-high was 200, now 400",
    ]


def test_what_does_not_decide_the_result_may_change():
    changes = {
        "steps": 7,
        "steps_per_call": 7,
        "checkpoint_every": 7,
        "validate_every": 7,
        "validation_episodes": 7,
        "reference_rates": 7,
        "hysteresis_particles": 7,
        "checkpoint_seconds": 7.0,
        "keep_last": 7,
        "keep_hours": 7.0,
        "progress": False,
        "tracker": "wandb",
        "wandb_mode": "offline",
        "wandb_project": "mine",
        "wandb_entity": "us",
        "wandb_group": "sweep",
        "wandb_name": "first",
        "wandb_tags": ("a",),
        "wandb_notes": "why",
        "devices": 7,
        "backend": "pmap",
        "chunk": 7,
    }
    assert changes.keys() == MAY_CHANGE  # a change of this set is a decision
    assert not differences(RunConfig(), RunConfig(**changes))


@pytest.mark.parametrize("field", dataclasses.fields(RunConfig), ids=lambda field: field.name)
def test_every_option_is_documented(field):
    """`lopt-train --help` shows the string below each field."""
    source = inspect.getsource(RunConfig)
    after = source.split(f"\n    {field.name}: ", 1)[1].split("\n", 1)[1]
    assert after.lstrip().startswith('"""')


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigma", -0.1),
        ("sigma", 0.0),
        ("window", 0),
        ("particles", -4),
        ("steps", 0),
        ("learning_rate", math.nan),
    ],
)
def test_numbers_that_must_be_positive_are_refused_by_their_option(name, value):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must be positive, not {value}"):
        RunConfig(**{name: value})


@pytest.mark.parametrize("name", ["warmup", "final_rate", "seed"])
def test_numbers_that_must_not_be_negative_are_refused_by_their_option(name):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must not be negative"):
        RunConfig(**{name: -1})
    assert getattr(RunConfig(**{name: 0}), name) == 0


def test_options_are_python_literals_or_else_strings():
    parsed = parse_options(
        ("size=8", "rate=1e-3", "flag=True", "name=relu", "pair=(1, 2)", "text=a=b"), "--o"
    )
    assert parsed == {
        "size": 8,
        "rate": 1e-3,
        "flag": True,
        "name": "relu",
        "pair": (1, 2),
        "text": "a=b",
    }


@pytest.mark.parametrize("pair", ["hidden_size", "=8", ""])
def test_options_without_name_or_value_are_refused(pair):
    with pytest.raises(ValueError, match="--optimizer-options takes NAME=VALUE, as in hidden_size=8"):
        RunConfig(optimizer_options=(pair,))


def test_unknown_presets_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown preset 'dem'; did you mean demo"):
        get_preset("dem")
    with pytest.raises(ValueError, match="demo or lstm or small or small-fc"):
        get_preset("zzz")


def test_an_option_that_an_architecture_does_not_take_is_refused():
    config = dataclasses.replace(get_preset("tiny"), optimizer_options=("hidden_size=8",))
    with pytest.raises(ValueError, match="optimizer learnable-adam: .*hidden_size"):
        build(config)

"""What two files may hold is checked in full: numbers, types, kinds of files, what a terminal would obey."""

import hashlib
import json
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import struct

from lopt import (
    ARCHITECTURES,
    LearnableSGD,
    LearnedOptimizer,
    PublishedOptimizerError,
    create,
    load,
    read_config,
    register,
    save,
    static_fields,
)

FIELDS = [
    (name, field, value)
    for name in sorted(ARCHITECTURES)
    for field, value in static_fields(create(name, jax.random.key(0))).items()
]
every_field = pytest.mark.parametrize(("name", "field", "default"), FIELDS, ids=lambda x: str(x))


def a_rule(name="adafactor-mlp"):
    return create(name, jax.random.key(0))


@pytest.fixture
def directory(tmp_path):
    """A good published optimizer, for a test to spoil."""
    return save(a_rule(), tmp_path / "mine")


def edit(directory, **changes):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | changes))


def put_theta(directory, arrays):
    """Replace the weights, and own up to it in the config."""
    weights = safetensors.numpy.save(arrays)
    (directory / "theta.safetensors").write_bytes(weights)
    edit(directory, theta_sha256=hashlib.sha256(weights).hexdigest())


def error_of(call, *arguments) -> str:
    """Return the one sentence that a call gives, fit for a terminal."""
    with pytest.raises(PublishedOptimizerError) as info:
        call(*arguments)
    message = str(info.value)
    assert message.isprintable()
    assert len(message) < 1100
    return message


# --- theta -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_theta_that_is_not_finite_is_neither_saved_nor_loaded(directory, bad):
    arrays = safetensors.numpy.load_file(directory / "theta.safetensors")
    arrays["layers.1.kernel"][2, 3] = bad
    put_theta(directory, arrays)
    assert "layers.1.kernel holds NaN or infinity" in error_of(load, directory)
    rule = a_rule().replace(momentum_decay=jnp.asarray([0.0, bad, 0.0]))
    assert "adafactor-mlp can't be published: momentum_decay holds NaN or inf" in error_of(
        save, rule, directory
    )


def test_theta_without_numbers_is_neither_saved_nor_loaded(tmp_path):
    for options in ({"hidden_size": 0}, {"hidden_size": 0, "hidden_layers": 1}):
        rule = create("star", jax.random.key(0), **options)
        assert "is empty" in error_of(save, rule, tmp_path)


def test_a_network_without_hidden_layers_is_a_linear_one_and_may_be_published(tmp_path):
    rule = create("star", jax.random.key(0), hidden_layers=0)
    assert load(save(rule, tmp_path)).hidden_layers == 0


def test_theta_of_integers_is_not_saved(tmp_path):
    rule = LearnableSGD(jnp.asarray(3))
    assert "log_learning_rate is of int32, and theta is of float32" in error_of(save, rule, tmp_path)


def test_theta_is_float32_whatever_jax_enable_x64_is(tmp_path):
    rule, small = a_rule(), load("small")
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), rule)
        assert wide.layers[0]["kernel"].dtype == jnp.float64
        saved_wide = save(wide, tmp_path / "wide")
        loaded = [load(saved_wide), load(save(rule, tmp_path / "narrow")), load("small")]
    for one, expected in zip([*loaded, load(saved_wide)], [rule, rule, small, rule], strict=True):
        assert jax.tree.structure(one) == jax.tree.structure(expected)
        for a, e in zip(jax.tree.leaves(one), jax.tree.leaves(expected), strict=True):
            assert a.dtype == jnp.float32
            np.testing.assert_array_equal(a, e)
    names = ("config.json", "theta.safetensors")
    assert all((saved_wide / n).read_bytes() == (tmp_path / "narrow" / n).read_bytes() for n in names)


def test_a_number_too_large_for_float32_is_not_saved(tmp_path):
    with jax.enable_x64(True):
        rule = LearnableSGD(jnp.asarray(1e300))
        assert "log_learning_rate holds NaN or infinity" in error_of(save, rule, tmp_path)


# --- static fields ---------------------------------------------------------------------------------------


@every_field
def test_a_static_field_out_of_its_range_is_neither_saved_nor_loaded(tmp_path, name, field, default):
    """On pain of an optimizer that is NaN, or stands still, from the first step."""
    rule = a_rule(name)
    bad = [math.nan, math.inf, -math.inf, [1], {}, 10**400]
    if default is None:
        bad += [7, True]
    elif isinstance(default, bool):
        bad += [None, "1", 0, 1, 1.0]
    else:
        assert default >= 0  # or else the values below are not the wrong ones
        bad += [None, "1", True, -1, -default or -2]
        bad += (
            ([0.0] if default else []) if isinstance(default, float) else [1.5, *([10**9] if default else [])]
        )
    for value in bad:
        directory = save(rule, tmp_path)
        edit(directory, static=static_fields(rule) | {field: value})
        assert field in error_of(load, directory), value
        assert field in error_of(save, rule.replace(**{field: value}), tmp_path), value


def test_constructor_arguments_are_no_static_fields(tmp_path):
    directory = save(a_rule("learnable-adam"), tmp_path)
    assert "learning_rate" not in read_config(directory)["static"]
    edit(directory, static={"learning_rate": 0.1})
    told = (
        "'learning_rate' is not a static field of this architecture, which has schedule_knots, rates_by_kind"
    )
    assert told in error_of(load, directory)


def test_static_fields_that_are_not_there_are_at_their_defaults(directory):
    edit(directory, static={})
    assert static_fields(load(directory)) == static_fields(a_rule())


@pytest.fixture
def odd():
    """An architecture with all kinds of static fields."""

    @register("odd")
    class Odd(LearnedOptimizer):
        """It does nothing."""

        theta: jax.Array
        shift: int = struct.field(pytree_node=False, default=0)
        slope: float = struct.field(pytree_node=False, default=0.5, metadata={"signed": True})
        least: float = struct.field(pytree_node=False, default=-1.0)
        sizes: tuple[int, ...] = struct.field(pytree_node=False, default=(2, 3))
        name: str = struct.field(pytree_node=False, default="relu")
        seen: bool = struct.field(pytree_node=False, default=True)
        note: str | None = struct.field(pytree_node=False, default=None)

        @classmethod
        def create(cls, key, **static):
            return cls(jnp.ones(2), **static)

        def init(self, params, horizon=None):
            return ()

        def update(self, grads, state, params, loss=None):
            return grads, state

    yield Odd
    del ARCHITECTURES["odd"]


def test_an_architecture_may_say_otherwise(odd, tmp_path):
    values = {"shift": 10**9, "slope": -0.5, "least": -7.0, "sizes": (4, 5, 6), "name": "tanh", "seen": False}
    rule = odd(jnp.zeros(2), **values, note="any")
    loaded = load(save(rule, tmp_path))
    assert static_fields(loaded) == values | {"note": "any"}
    assert hash(jax.tree.structure(loaded)) == hash(jax.tree.structure(rule))
    for field, bad in {
        "shift": -1,
        "slope": math.nan,
        "sizes": 3,
        "name": 3,
        "seen": 1,
        "note": object(),
    }.items():
        assert field in error_of(save, rule.replace(**{field: bad}), tmp_path)


# --- provenance ------------------------------------------------------------------------------------------

BAD_PROVENANCE = [
    *(("tasks", value) for value in (3, None, {"a": 1}, ["digits", 3], [["digits"]], "\x1b[31m", ["a\nb"])),
    *(("horizon", value) for value in (100, "100", [100, "500"], [[1]], [-1], {"low": 1}, [True])),
    *(
        (name, value)
        for name in ("meta_steps", "inner_steps", "seconds")
        for value in ("3", -1, [3], {}, True, "unknown")
    ),
    *(("devices", value) for value in ("2 x cpu", 2, [2], {"cpu": 2}, ["\x1b[2J"])),
    *(("command", 3), ("commit", ["c0ffee"]), ("estimator", {}), ("versions", "0.1"), ("task_weights", 1)),
]


@pytest.mark.parametrize(("key", "value"), BAD_PROVENANCE, ids=ascii)
def test_provenance_that_reports_could_not_print_is_refused_before_hours_of_work(directory, key, value):
    assert f"a provenance whose {key!r} is " in error_of(save, a_rule(), directory, {key: value})
    edit(directory, provenance={key: value})
    assert f"config.json has a provenance whose {key!r} is " in error_of(load, directory)
    assert f"{key!r} is " in error_of(read_config, directory)


def test_provenance_of_ones_own_may_be_any_json(tmp_path):
    own = {"a": None, "b": [1, 2.5, "é", {"c": [True]}], "": {}, "long": "x" * 10_000, "esc": "\x1b[31m"}
    known = {"tasks": "digits", "seconds": None, "meta_steps": 1e6, "horizon": [], "devices": None}
    assert read_config(save(a_rule(), tmp_path, own | known))["provenance"] == own | known
    assert read_config(save(a_rule(), tmp_path, {"tasks": ("a", "b")}))["provenance"] == {"tasks": ["a", "b"]}


@pytest.mark.parametrize(
    ("provenance", "says"),
    [
        ({"when": object()}, "holds <object object at "),
        ({"when": {"loss": [1.0, math.nan]}}, "holds nan in provenance['when'], which is not JSON"),
        ({"when": math.inf}, "holds inf in provenance['when'], which is not JSON"),
        ({3: "x"}, "has the key 3 in provenance, which is not text"),
        ({"when": {None: 1}}, "has the key None in provenance['when'], which is not text"),
        ({"when": np.float32(1)}, "holds np.float32(1.0) in provenance['when'], which is not JSON"),
        ({"when": {1, 2}}, "holds {1, 2} in provenance['when'], which is not JSON"),
        ({"when": "\ud800"}, "holds an unpaired surrogate in provenance['when']"),
        ({"when": json.loads("[" * 100 + "]" * 100)}, "is nested more than 50 deep in provenance['when']"),
        (["when"], "has the provenance ['when'], which is not a mapping"),
        ({"when": "x" * 2**23}, "config.json has 8,388,"),
    ],
    ids=lambda x: ascii(x)[:30],
)
def test_provenance_that_is_not_json_is_not_saved(directory, provenance, says):
    before = (directory / "config.json").read_bytes()
    assert says in error_of(save, a_rule(), directory, provenance)
    assert (directory / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    "text", ['{"x": NaN}', '{"x": [-Infinity]}', '{"x": 1e999}', '{"x": "\\ud800"}', "[]"]
)
def test_provenance_that_is_not_json_is_not_loaded(directory, text):
    config = (directory / "config.json").read_text()
    (directory / "config.json").write_text(config.replace('"provenance": {}', f'"provenance": {text}'))
    assert "config.json" in error_of(load, directory)


# --- files that are none ---------------------------------------------------------------------------------


def make_large(path):
    path.touch()
    os.truncate(path, 10 * 2**30)


def make_device(path):
    path.symlink_to("/dev/zero")


def make_loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize("file", ["config.json", "theta.safetensors"])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "a device or a pipe, not a regular file"),
        (make_device, "a device or a pipe, not a regular file"),
        (os.mkdir, "a directory, not a regular file"),
        (make_loop, "symbolic links"),
        (make_large, "it has 10,737,418,240 bytes, and may have"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_what_is_no_file_or_endless_is_refused_at_once(directory, file, make, says):
    (directory / file).unlink()
    make(directory / file)
    message = error_of(load, directory)
    assert f"no readable {file}" in message
    assert says in message


# --- what a terminal would obey --------------------------------------------------------------------------

EVIL = "\x1b[2J\x1b]0;pwned\x07\r\n\u202e" + "x" * 3000


def test_escape_sequences_do_not_reach_the_terminal(directory):
    good = json.loads((directory / "config.json").read_text())
    rule = {"static": {EVIL: 1}}, {"static": {"hidden_size": EVIL}}, {"architecture": EVIL[:50]}
    facts = {"provenance": {"tasks": EVIL}}, {"provenance": {"x": {EVIL: math.nan}}}, {"architecture": EVIL}
    for change in (*rule, *facts, {"provenance": {EVIL: math.nan}}, {"format": 10**4000}):
        (directory / "config.json").write_text(json.dumps(good | change))
        message = error_of(load, directory)  # which checks the message
        assert len(message) < 800
    (directory / "config.json").write_text(json.dumps(good))
    put_theta(directory, {EVIL: np.zeros(2, np.float32)})
    assert r"\x1b[2J" in error_of(load, directory)
    for provenance in ({EVIL: math.nan}, {"tasks": EVIL}, {"x": {EVIL}}):
        assert r"\x1b[2J" in error_of(save, a_rule(), directory, provenance)


def test_the_error_itself_lets_nothing_through():
    message = str(PublishedOptimizerError(EVIL))
    assert message.startswith(r"\x1b[2J")
    assert message.isprintable()
    assert len(message) < 1100


def test_the_name_of_an_architecture_is_not_looked_for_among_the_known_ones_when_it_is_endless(directory):
    edit(directory, architecture="x" * 2**21)
    assert "is not the config of a published optimizer" in error_of(load, directory)


def test_json_that_is_hard_to_read_is_refused(directory):
    for text in (
        b"9" * 10_000,
        b"[" * 10**6,
        b'{"format": 1, ' * 10**5,
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"\x1b[2J",
    ):
        (directory / "config.json").write_bytes(text)
        assert "config.json is not JSON: " in error_of(load, directory)

"""Published optimizers: what was saved comes back, and whatever else is there gives one clear error."""

import hashlib
import json
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from lopt import (
    ARCHITECTURES,
    LearnedOptimizer,
    PublishedOptimizerError,
    as_optax,
    create,
    load,
    published,
    read_config,
    save,
    static_fields,
)

PROVENANCE = {"command": "lopt-train demo", "inner_steps": 3_000_000, "tasks": ["digits"], "note": "é"}

every_architecture = pytest.mark.parametrize("name", sorted(ARCHITECTURES))


def perturbed(rule, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + rng.normal(size=x.shape).astype(np.float32), rule)


def unusual_statics(name):
    """Static fields whose numbers all differ from their defaults, and are valid where those are."""
    defaults = static_fields(create(name, jax.random.key(0)))
    return {key: value + 1 if type(value) in (int, float) else value for key, value in defaults.items()}


def a_rule(name="adafactor-mlp", **static):
    return perturbed(create(name, jax.random.key(0), **static))


def assert_identical(actual: LearnedOptimizer, expected: LearnedOptimizer):
    """The same class, static fields and bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(a, jax.Array)
        assert a.dtype == e.dtype
        assert np.asarray(a).tobytes() == np.asarray(e).tobytes()


@pytest.fixture
def directory(tmp_path):
    """A good published optimizer, for a test to spoil."""
    return save(a_rule(), tmp_path / "mine", PROVENANCE)


def edit_config(directory, **changes):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | changes))


def put_weights(directory, weights: bytes):
    """Replace the weights by a foreign file, and own up to it in the config."""
    (directory / "theta.safetensors").write_bytes(weights)
    edit_config(directory, theta_sha256=hashlib.sha256(weights).hexdigest())


def error_of(directory, blames: str) -> str:
    """Return the one sentence that loading gives, having checked that it names the file to look at."""
    with pytest.raises(PublishedOptimizerError) as info:
        load(directory)
    message = str(info.value)
    assert str(directory) in message
    assert blames in message
    assert "\n" not in message
    return message


# --- what was saved comes back ---------------------------------------------------------------------------


@every_architecture
def test_an_optimizer_comes_back_bit_for_bit(name, tmp_path):
    for number, static in enumerate([{}, unusual_statics(name)]):
        rule = a_rule(name, **static)
        directory = save(rule, tmp_path / "new" / str(number), PROVENANCE)
        assert directory == tmp_path / "new" / str(number)
        assert_identical(load(directory), rule)
        assert_identical(load(str(directory)), rule)
        assert read_config(directory)["static"] == static_fields(rule)


def test_special_numbers_come_back(tmp_path):
    odd = jnp.asarray([-0.0, 1e-42, 3.4e38], jnp.float32)
    rule = a_rule().replace(momentum_decay=odd)
    assert_identical(load(save(rule, tmp_path)), rule)


def test_the_directory_holds_two_files_and_the_provenance(directory):
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "theta.safetensors"]
    config = read_config(directory)
    assert config["architecture"] == "adafactor-mlp"
    assert config["provenance"] == PROVENANCE
    tensors = safetensors.numpy.load_file(directory / "theta.safetensors")
    assert tensors["layers.0.kernel"].shape == (39, 4)


def test_publishing_again_replaces(directory):
    other = a_rule("learnable-adam")
    save(other, directory)
    assert_identical(load(directory), other)
    assert read_config(directory)["provenance"] == {}


def test_a_publication_that_fails_leaves_the_old_one(directory):
    with pytest.raises(ValueError, match="JSON"):
        save(a_rule("learnable-adam"), directory, {"when": object()})
    assert_identical(load(directory), a_rule())


def test_an_unregistered_architecture_is_not_published(tmp_path):
    class Unregistered(ARCHITECTURES["learnable-sgd"]):
        """A rule that nobody could load."""

    with pytest.raises(ValueError, match=r"Unregistered is not registered: .*@lopt\.register"):
        save(Unregistered.create(jax.random.key(0)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_path_is_enough_for_optax(directory):
    params, grads = {"w": jnp.ones((3, 2))}, {"w": jnp.full((3, 2), 0.5)}
    updates = []
    for optimizer in (directory, str(directory), load(directory)):
        tx = as_optax(optimizer)
        updates.append(tx.update(grads, tx.init(params), params)[0]["w"])
    assert (updates[0] == updates[2]).all()
    assert (updates[1] == updates[2]).all()
    assert (updates[2] != 0).all()


def test_every_optimizer_that_comes_with_lopt_loads():
    root = Path(__file__).parents[1] / "checkpoints"
    assert set(published()) >= {path.parent.name for path in root.glob("*/config.json")}
    for name in published():
        assert isinstance(load(name), LearnedOptimizer)


def test_the_names_of_published_optimizers(tmp_path, monkeypatch):
    monkeypatch.setattr("lopt.publish._PUBLISHED", (tmp_path / "none", tmp_path))
    save(a_rule(), tmp_path / "small-one")
    save(a_rule("learnable-sgd"), tmp_path / "tiny-one")
    (tmp_path / "README.md").write_text("")
    assert published() == ["small-one", "tiny-one"]
    assert_identical(load("small-one"), a_rule())
    with pytest.raises(PublishedOptimizerError, match="did you mean small-one"):
        load("smal-one")
    with pytest.raises(PublishedOptimizerError, match=r"'\.\./x' is neither a directory nor the name"):
        load("../x")


# --- and nothing else does -------------------------------------------------------------------------------


def test_nothing_there(tmp_path):
    with pytest.raises(PublishedOptimizerError, match="is neither a directory nor the name of a published"):
        load(tmp_path / "nowhere")
    error_of(tmp_path, "holds no published optimizer: no readable config.json")


@pytest.mark.parametrize("file", ["config.json", "theta.safetensors"])
def test_a_missing_file(directory, file):
    (directory / file).unlink()
    assert "No such file" in error_of(directory, file)


@pytest.mark.parametrize("file", ["config.json", "theta.safetensors"])
def test_a_directory_in_a_files_place(directory, file):
    (directory / file).unlink()
    (directory / file).mkdir()
    error_of(directory, file)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_truncated_weights(directory, keep):
    path = directory / "theta.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "truncated or was altered" in error_of(directory, "theta.safetensors")


@pytest.mark.parametrize("position", [0, 20, -1])
def test_an_altered_byte(directory, position):
    path = directory / "theta.safetensors"
    weights = bytearray(path.read_bytes())
    weights[position] ^= 1
    path.write_bytes(weights)
    assert "truncated or was altered" in error_of(directory, "theta.safetensors")


class Malicious:
    """Something that makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_not_executed(directory, tmp_path):
    trace = tmp_path / "executed"
    weights = pickle.dumps(Malicious(trace))
    put_weights(directory, weights)
    assert "is not a safetensors file" in error_of(directory, "theta.safetensors")
    assert not trace.exists()
    pickle.loads(weights)  # so much for the trap itself
    assert trace.exists()


@pytest.mark.parametrize("foreign", [b"", b"\x93NUMPY", b"\xff" * 64])
def test_weights_that_are_no_safetensors(directory, foreign):
    put_weights(directory, foreign)
    assert "is not a safetensors file" in error_of(directory, "theta.safetensors")


def test_somebody_elses_safetensors(directory):
    put_weights(directory, safetensors.numpy.save({"embedding": np.zeros((2, 2), np.float32)}))
    message = error_of(directory, "theta.safetensors")
    assert "does not fit adafactor-mlp" in message
    assert "embedding" in message


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_weights_of_another_type(directory, dtype):
    tensors = safetensors.numpy.load_file(directory / "theta.safetensors")
    tensors["layers.1.bias"] = tensors["layers.1.bias"].astype(dtype)
    put_weights(directory, safetensors.numpy.save(tensors))
    assert "layers.1.bias differ" in error_of(directory, "theta.safetensors")


def test_static_fields_of_another_size(directory):
    edit_config(directory, static=read_config(directory)["static"] | {"hidden_size": 5})
    message = error_of(directory, "theta.safetensors")
    assert "does not fit adafactor-mlp: layers.0.bias, layers.0.kernel" in message
    edit_config(directory, static=read_config(directory)["static"] | {"hidden_size": 4, "hidden_layers": 3})
    assert "layers.3.kernel" in error_of(directory, "theta.safetensors")


@pytest.mark.parametrize(
    ("static", "says"),
    [
        ({"depth": 3}, "'depth' is not a static field of this architecture, which has hidden_size, hidden_"),
        ({"layers": []}, "'layers' is not a static field"),
        ({"key": 0}, "'key' is not a static field"),
        ({"hidden_size": "four"}, "hidden_size is 'four', but should be like 4"),
        ({"hidden_size": 4.0}, "hidden_size is 4.0"),
        ({"step_scale": "small"}, "step_scale is 'small', but should be like 0.001"),
        ({"hidden_size": -1}, "hidden_size is -1, but should be 0 or more"),
    ],
    ids=str,
)
def test_static_fields_that_create_does_not_take(directory, static, says):
    edit_config(directory, static=static)
    assert says in error_of(directory, "config.json")


def test_an_unknown_architecture(directory):
    edit_config(directory, architecture="adafactor-mpl")
    message = error_of(directory, "config.json")
    assert "unknown optimizer architecture 'adafactor-mpl'; did you mean adafactor-mlp" in message


def test_a_config_of_a_newer_format(directory):
    edit_config(directory, format=2)
    assert "has format 2; this version of lopt reads format 1" in error_of(directory, "config.json")


@pytest.mark.parametrize("text", ["", "{", "weights: 3", "[" * 100_000, b"\xff\xfe\x00"], ids=len)
def test_a_config_that_is_no_json(directory, text):
    (directory / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "is not JSON" in error_of(directory, "config.json")


@pytest.mark.parametrize("config", [{}, [], None, 3, {"model_type": "llama", "hidden_size": 4}], ids=str)
def test_a_config_that_is_not_ours(directory, config):
    (directory / "config.json").write_text(json.dumps(config))
    assert "is not the config of a published optimizer" in error_of(directory, "config.json")


@pytest.mark.parametrize("key", ["format", "architecture", "static", "theta_sha256", "provenance"])
def test_a_config_with_a_part_missing_or_of_another_type(directory, key):
    config = read_config(directory)
    for spoilt in ({k: v for k, v in config.items() if k != key}, config | {key: None}):
        (directory / "config.json").write_text(json.dumps(spoilt))
        assert "is not the config of a published optimizer" in error_of(directory, "config.json")

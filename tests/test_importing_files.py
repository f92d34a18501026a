"""`lopt-import`: other libraries' files become published optimizers; errors are one sentence."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import serialization

import lopt
from lopt.importing import adafactor_mlp, celo2, command, velo

from .recorded_trajectories import published_file, read_record

RULES = {"adafac-mlp": adafactor_mlp, "celo2": celo2, "velo-small": velo}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LOPT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments):
    return command.main([str(argument) for argument in arguments])


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def written(path, theta):
    path.write_bytes(serialization.msgpack_serialize(theta))
    return path


def in_torchs_layout(name, theta):
    """Return what PyLO's modules would hold of another library's theta, by file."""
    if name == "adafac-mlp":
        network = theta["nn"]["~"]
        layers = ["input", "linear_0", "output"]
        return [
            {
                f"network.{layer}.{kind}": np.array(value, order="C")
                for n, layer in enumerate(layers)
                for kind, value in (("weight", network[f"w{n}"].T), ("bias", network[f"b{n}"]))
            }
        ]
    network = theta["ff_mod_stack"]["~"]
    if name == "celo2":
        dense = {f"dense_{k}.{n - 1}": network[f"{k}{n}"] for n in (1, 2) for k in "wb"}
        return [{f"w0.{n}": network[f"w0__{n}"] for n in range(14)} | {"b0": network["b0"]} | dense]
    turned = lambda x: np.array(np.swapaxes(x, -1, -2), order="C")  # noqa: E731
    rnn, names = theta["rnn_params"], {"linear": "mix_layer1", "linear_1": "mix_layer2"}
    names |= {"linear_2": "final_mix_layer", "rnn_to_controls": "rnn_to_controls", "step_size": "step_size"}
    lstm = rnn["rnn"]["linear"] if "rnn" in rnn else rnn["rnn/linear"]
    recurrent = {"lstm_init_state.0": theta["lstm_init_state"]["hidden"]}
    recurrent |= {"lstm_init_state.1": theta["lstm_init_state"]["cell"]}
    for ours, layer in ((torch, rnn[haiku]) for haiku, torch in names.items()):
        recurrent |= {f"{ours}.weight": turned(layer["w"]), f"{ours}.bias": layer["b"]}
    recurrent |= {"lstm.linear.weight": turned(lstm["w"]), "lstm.linear.bias": lstm["b"]}
    first = np.concatenate([network[f"w0__{n}"] for n in range(14)], axis=1)
    bank = {"input_weights_": turned(first), "input_bias_": network["b0"]}
    bank |= {"hidden_weights_.0": turned(network["w1"]), "hidden_bias_.0": network["b1"]}
    bank |= {"output_weights_": turned(network["w2"]), "output_bias_": network["b2"]}
    return [recurrent, bank]


@pytest.mark.parametrize(("name", "form"), [("adafac-mlp", "adafactor-mlp"), ("celo2", "celo2")])
def test_a_msgpack_file_is_imported_and_found_by_name(name, form, tmp_path, home, capsys):
    theta = read_record(name).theta
    assert run(form, written(tmp_path / "theta.state", theta)) == 0
    assert f"lopt.load({form!r})" in capsys.readouterr().out
    assert_same(lopt.load(form), RULES[name].from_theta(theta))
    about = lopt.read_config(form)["provenance"]
    assert (about["imported_from"], about["licence"]) == (["theta.state"], lopt_licence(form))
    assert run("--list") == 0
    assert capsys.readouterr().out == f"{form}\n"
    assert form in lopt.published()


def lopt_licence(form):
    return "MIT" if form.startswith("celo") else "Apache-2.0"


def test_a_checkpoint_of_learned_optimization_is_unwrapped(tmp_path):
    theta = read_record("adafac-mlp").theta
    file = written(tmp_path / "theta.state", {"params": theta, "gen_id": "x", "step": 3})
    assert run("adafactor-mlp", file, tmp_path / "out") == 0
    assert_same(lopt.load(tmp_path / "out"), adafactor_mlp.from_theta(theta))


@pytest.mark.parametrize(
    ("name", "form"), [("adafac-mlp", "adafactor-mlp"), ("celo2", "celo2"), ("velo-small", "velo")]
)
def test_pylos_arrays_are_the_same_in_another_layout(name, form, tmp_path):
    theta = read_record(name).theta
    if name == "adafac-mlp":  # PyLO keeps the first decays
        theta = theta | {key: np.zeros_like(x) for key, x in theta.items() if key.endswith("_decays")}
    files = []
    for number, arrays in enumerate(in_torchs_layout(name, theta)):
        files.append(tmp_path / f"{number}.safetensors")
        safetensors.numpy.save_file({k: np.ascontiguousarray(x) for k, x in arrays.items()}, files[-1])
    assert run(form, *files, tmp_path / "out") == 0
    assert_same(lopt.load(tmp_path / "out"), RULES[name].from_theta(theta))


@pytest.mark.parametrize("form", ["celo", "celo-adam"])
def test_the_authors_weights_are_imported(form, capsys):
    assert run(form, published_file(f"{form}.theta.state")) == 0
    assert lopt.architecture_name(lopt.load(form)) == form
    assert lopt.read_config(form)["provenance"]["horizon"] == [100, 2000]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("cel", "whole"), "unknown format 'cel'; did you mean celo"),
        (("adafactor-mlp", "missing"), "can't be read"),
        (("adafactor-mlp", "cut"), "is neither a whole flax msgpack file nor safetensors"),
        (("adafactor-mlp", "empty"), "is neither a whole flax msgpack file nor safetensors"),
        (("adafactor-mlp", "number"), "holds int, not a dict of arrays"),
        (("adafactor-mlp", "cut-tensors"), "is neither a whole flax msgpack file nor safetensors"),
        (("adafactor-mlp", "other-tensors"), "network.input.weight is missing"),
        (("mlp", "other-tensors"), "PyLO has no weights for mlp"),
        (("velo", "whole"), "this is no theta of VeLO"),
        (("adafactor-mlp", "infinite"), "holds NaN or infinity"),
        (("adafactor-mlp", "whole", "--name", "a/b"), "can't be a name"),
        (("adafactor-mlp", "whole", "out", "--name", "b"), "not both"),
        (("adafactor-mlp", "whole", "whole"), "several files are read only if all are safetensors"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(arguments, told, tmp_path, home, capsys):
    theta = read_record("adafac-mlp").theta
    whole = written(tmp_path / "whole", theta).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty").write_bytes(b"")
    written(tmp_path / "infinite", theta | {"rms_decays": np.full(1, np.inf, np.float32)})
    (tmp_path / "number").write_bytes(serialization.msgpack_serialize(7))
    tensors = safetensors.numpy.save({"x": np.ones(30, np.float32)})
    (tmp_path / "other-tensors").write_bytes(tensors)
    (tmp_path / "cut-tensors").write_bytes(tensors[:40])
    names = {"whole", "cut", "empty", "number", "infinite", "other-tensors", "cut-tensors", "missing", "out"}
    assert run(*(tmp_path / one if one in names else one for one in arguments)) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not home.exists()


def test_nothing_to_import_is_wrong_usage(capsys):
    assert run() == 2
    assert run("--list") == 0
    assert "none; they are imported to" in capsys.readouterr().out

"""Arrays of another library that are no theta of a rule are refused in one sentence."""

import copy

import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt.importing import celo, rnn_mlp, velo

from .recorded_trajectories import read_record

FAMILIES = {"rnn-mlp": rnn_mlp, "velo-small": velo}


def theta(name):
    return copy.deepcopy(read_record(name).theta)


def a_celo(bank=1):
    """A theta of Celo, of ones."""
    widths = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)
    shapes = {f"w0__{n}": (bank, width, 4) for n, width in enumerate(widths)}
    shapes |= {"w1": (bank, 4, 4), "w2": (bank, 4, 3), "b0": (bank, 4), "b1": (bank, 4), "b2": (bank, 3)}
    layers = {"linear": (18, 6), "linear_1": (18, 6), "linear_2": (18, 6), "rnn/linear": (12, 24)}
    layers |= {"rnn_to_controls": (6, bank), "step_size": (6, 1)}
    return {
        "ff_mod_stack": {"~": {name: np.ones(shape, np.float32) for name, shape in shapes.items()}},
        "lstm_init_state": {name: np.ones((1, 6), np.float32) for name in ("hidden", "cell")},
        "rnn_params": {
            name: {"w": np.ones(shape, np.float32), "b": np.ones(shape[1], np.float32)}
            for name, shape in layers.items()
        },
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_are_told_from_shapes(name):
    rule = FAMILIES[name].from_theta(theta(name))
    expected = {
        "rnn-mlp": {"hidden_size": 32, "hidden_layers": 2, "lstm_size": 16, "from_parameters_size": 16},
        "velo-small": {"hidden_size": 4, "hidden_layers": 2, "lstm_size": 32, "bank_size": 8},
    }[name]
    static = lopt.static_fields(rule)
    assert {key: static[key] for key in expected} == expected
    assert FAMILIES[name].static_options(theta(name)).items() <= static.items()


@pytest.mark.parametrize("name", FAMILIES)
def test_an_imported_theta_is_published_and_loaded(name, tmp_path):
    rule = FAMILIES[name].from_theta(theta(name))
    loaded = lopt.load(lopt.save(rule, tmp_path / "out"))
    assert lopt.static_fields(loaded) == lopt.static_fields(rule)
    assert lopt.theta_size(loaded) == lopt.theta_size(rule)


def test_names_may_be_nested_or_joined_by_slashes():
    given = a_celo()
    flat = given["ff_mod_stack"]["~"]
    joined = {f"ff_mod_stack/~/{name}": array for name, array in flat.items()}
    rule = celo.from_theta({k: v for k, v in given.items() if k != "ff_mod_stack"} | joined)
    assert lopt.static_fields(rule)["hidden_layers"] == 2


def test_celo_and_celo_adam_are_told_by_the_network_that_one_has():
    given = a_celo()
    assert type(celo.from_theta(given)) is lopt.Celo
    del given["ff_mod_stack"], given["rnn_params"]["rnn_to_controls"]
    assert type(celo.from_theta(given)) is lopt.CeloAdam


def test_a_forget_gate_is_open_without_a_bias():
    """haiku adds the 1 in the cell, and has its gates in another order."""
    rule = celo.from_theta(a_celo())
    bias = rule.scheduler.network.lstm.cell["bias"].reshape(4, 6)
    np.testing.assert_array_equal(bias, np.repeat([[1], [2], [1], [1]], 6, axis=1))


DAMAGES = {
    "no dict": (lambda t: np.ones(3), "a theta of VeLO is a dict of arrays, not ndarray"),
    "empty": (lambda t: {}, "it has no lstm_init_state/hidden"),
    "one missing": (lambda t: t["rnn_params"]["step_size"].pop("b"), "it has no rnn_params/step_size/b"),
    "one too many": (
        lambda t: t["rnn_params"].update(more=np.ones(3, np.float32)),
        "this is no theta of VeLO, which has no rnn_params/more",
    ),
    "another shape": (
        lambda t: t["rnn_params"]["rnn_to_controls"].update(w=np.ones((32, 9), np.float32)),
        r"rnn_params/rnn_to_controls/w is \(32, 9\), and should be \(32, 8\)",
    ),
    "another rank": (
        lambda t: t["ff_mod_stack"]["~"].update(b0=np.ones(8, np.float32)),
        r"ff_mod_stack/~/b0 is \(8,\), and should be an array of 2 axes",
    ),
    "a loss feature more": (
        lambda t: t["rnn_params"]["linear"].update(w=np.ones((31, 32), np.float32)),
        r"rnn_params/linear/w is \(31, 32\), and should be \(30, 32\)",
    ),
    "not a number": (
        lambda t: t["rnn_params"]["step_size"].update(b=np.full(1, np.nan, np.float32)),
        "rnn_params/step_size/b of this theta holds NaN or infinity",
    ),
    "integers": (
        lambda t: t["rnn_params"]["step_size"].update(b=np.ones(1, int)),
        "rnn_params/step_size/b of this theta is of int64, and should be of float32",
    ),
    "text": (
        lambda t: t["rnn_params"]["step_size"].update(b="no"),
        "rnn_params/step_size/b of this theta is of str, and should be of float32",
    ),
    "a deeper network that lacks a kernel": (
        lambda t: t["ff_mod_stack"]["~"].update(b3=np.ones((8, 3), np.float32)),
        r"ff_mod_stack/~/w2 is \(8, 4, 3\), and should be \(8, 4, 4\)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_theta_is_refused_in_one_sentence(damage):
    given = theta("velo-small")
    change, message = DAMAGES[damage]
    changed = change(given)
    if damage in ("no dict", "empty"):
        given = changed
    with pytest.raises(lopt.UsageError, match=message) as raised:
        velo.from_theta(given)
    assert "\n" not in str(raised.value)


def test_another_rules_theta_is_refused():
    with pytest.raises(lopt.UsageError, match="this is no theta of VeLO: it has no ff_mod_stack/~/b0"):
        velo.from_theta(theta("rnn-mlp"))
    with pytest.raises(lopt.UsageError, match="this is no theta of TensorLSTM"):
        rnn_mlp.from_theta(theta("velo-small"))
    with pytest.raises(lopt.UsageError, match="it has a bank of networks, as VeLO has"):
        celo.from_theta(a_celo(bank=2))


def test_half_precision_is_widened():
    given = a_celo()
    given["rnn_params"]["step_size"]["b"] = jnp.ones(1, jnp.bfloat16)
    assert celo.from_theta(given).scheduler.rate["bias"].dtype == jnp.float32

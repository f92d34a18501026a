"""`scripts/benchmark.py optimizers` measures what an update costs; its trees are what they are said to be."""

import importlib
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from scripts.parameter_trees import TREES, make_gradients, make_parameters

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a script as Python does when one is started."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module


def test_the_command_measures_a_learned_optimizer_and_one_of_optax(load, tmp_path, capsys):
    path = tmp_path / "costs.json"
    arguments = ["--optimizers", "learnable-adam", "schedule-free", "--trees", "tiny", "--seconds", "0"]
    assert load("benchmark").main(["optimizers", *arguments, "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    assert written["versions"]["jax"] == jax.__version__
    assert written["machine"]["cores"] >= 1
    assert [case["optimizer"] for case in written["cases"]] == ["adam", "learnable-adam", "schedule-free"]
    for case in written["cases"]:
        assert (case["tree"], case["parameters"], case["tensors"], case["finite"]) == ("tiny", 140, 4, True)
        for column in load("optimizer_costs").COLUMNS:
            assert case[column.key] > 0, column
            assert case["ratios"][column.key] > 0, column
    adam, learnable, free = written["cases"]
    assert adam["ratios"]["hlo_operations"] == adam["ratios"]["temporary_bytes"] == 1
    assert adam["state_bytes"] == learnable["adam"]["state_bytes"] == 8 + 4 / 140  # two moments and a count
    assert free["ratios"]["state_bytes"] == free["state_bytes"] / adam["state_bytes"] > 1
    shown = capsys.readouterr()
    assert "tiny: 140 parameters, 4 tensors" in shown.out
    assert "tiny: learnable-adam" in shown.err


def test_everything_is_measured_by_default(load):
    known = load("update_runner").optimizers()
    expected = {"adam", "adafactor", "muon", "schedule-free", *lopt.ARCHITECTURES, *lopt.published()}
    assert set(known) == expected


@pytest.mark.parametrize(
    ("option", "name", "sentence"),
    [
        ("--optimizers", "stra", "unknown optimizer 'stra'; did you mean star"),
        ("--trees", "gpt3", "unknown parameter tree 'gpt3'; did you mean gpt2"),
    ],
)
def test_an_unknown_name_gets_one_sentence(load, option, name, sentence):
    with pytest.raises(SystemExit, match=sentence) as raised:
        load("benchmark").main(["optimizers", option, name])
    assert "\n" not in str(raised.value)


def test_updates_that_are_not_finite_are_noticed(load):
    runner = load("update_runner").Runner(None, lambda g, state, p: (g, state), {}, [jnp.ones(3)])
    runner.step()
    runner.check()
    assert runner.finite
    runner.gradients = [jnp.asarray([1, jnp.nan])]
    runner.step()
    runner.check()
    assert not runner.finite


def test_the_table_says_so_and_the_command_fails(load, monkeypatch, capsys):
    costs = load("optimizer_costs")
    numbers = dict.fromkeys([column.key for column in costs.COLUMNS], 1.0)
    result = {**numbers, "parameters": 140, "tensors": 4, "adam": {}, "ratios": {}, "finite": False}
    monkeypatch.setattr(costs, "measure", lambda *_: result)
    assert load("benchmark").main(["optimizers", "--optimizers", "adam", "--trees", "tiny"]) == 1
    assert "adam, NOT FINITE" in capsys.readouterr().err


def test_a_state_that_shares_buffers_is_copied_and_this_is_told(load):
    params = make_parameters(TREES["tiny"]())
    tx = optax.GradientTransformation(lambda p: p, lambda grads, state, params=None: (grads, state))
    update = jax.jit(tx.update, donate_argnums=1).lower(params, params, params).compile()
    runner = load("update_runner").Runner(tx, update, params, [params], jax.tree.map(lambda p: p, params))
    runner._copy_shared()
    assert runner.copied
    runner.turn()  # donates the state
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))


def test_an_update_that_does_not_fit_into_memory_is_not_run(load, monkeypatch):
    compiling = load("update_compiling")
    monkeypatch.setattr(compiling, "_kilobytes", lambda path, name: 1)
    _, compiled = compiling.compile_update(optax.adam(1), make_parameters(TREES["mlp"]()))
    with pytest.raises(MemoryError, match=r"an update needs 0\.\d GB, and 0\.0 GB are free"):
        compiling.check_memory(compiled)


def test_a_case_that_fails_or_takes_too_long_is_a_row_of_its_own(load):
    costs = load("optimizer_costs")
    case = {"optimizer": "adam", "tree": "tiny"}
    assert costs.measure(case, 0, 0.1) == {"error": "given up after 0 s"}
    failed = case | costs.measure(case | {"tree": "none"}, 0, 300)
    assert failed["error"] == "KeyError: 'none'"
    assert costs.table("tiny", [failed]).row_count == 1


@pytest.mark.parametrize(
    ("name", "size", "tensors", "shapes"),
    [
        ("tiny", 140, 4, 4),
        ("mlp", 948_746, 8, 8),
        ("transformer", 21_125_632, 45, 9),
        ("gpt2", 1_403_712, 148, 9),
        ("vit", 1_444_804, 200, 12),
    ],
)
def test_trees_have_these_tensors(name, size, tensors, shapes):
    leaves = jax.tree.leaves(TREES[name](), is_leaf=lambda node: isinstance(node, tuple))
    assert (sum(map(math.prod, leaves)), len(leaves), len(set(leaves))) == (size, tensors, shapes)


def test_parameters_start_as_flax_has_them_and_gradients_are_random():
    params = make_parameters(TREES["gpt2"]())
    block = params["h"]["11"]
    np.testing.assert_array_equal(block["ln_1"]["scale"], 1)
    np.testing.assert_array_equal(block["attn"]["c_proj"]["bias"], 0)
    assert 0.019 < np.std(block["attn"]["c_attn"]["kernel"]) < 0.021
    assert not np.array_equal(block["mlp"]["c_fc"]["kernel"], params["h"]["10"]["mlp"]["c_fc"]["kernel"])
    grads = make_gradients(TREES["gpt2"]())
    assert jax.tree.map(lambda g, p: g.shape == p.shape, grads, params) == jax.tree.map(
        lambda _: True, params
    )
    assert all(np.all(leaf != 0) and leaf.dtype == np.float32 for leaf in jax.tree.leaves(grads))

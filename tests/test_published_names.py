"""A name, a path, and nothing else: `load` and `save` take what they are told, or refuse it in a sentence."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eval.cli import main as lopt_eval
from lopt import PublishedOptimizerError, as_optax, create, load, published, read_config, save
from meta_train import Options, RunDirectory


def a_rule(rate=0.1):
    return create("learnable-adam", jax.random.key(0), learning_rate=rate)


def error_of(call, *arguments) -> str:
    """Return the one sentence that a call gives, fit for a terminal."""
    with pytest.raises(PublishedOptimizerError) as info:
        call(*arguments)
    message = str(info.value)
    assert message.isprintable()
    assert len(message) < 1100
    return message


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty directory."""
    monkeypatch.chdir(tmp_path)


# --- names and directories of the same name --------------------------------------------------------------


def test_a_published_name_means_the_published_one_and_a_path_the_directory(tmp_path):
    with_lopt = read_config("small")
    save(a_rule(), tmp_path / "small")
    assert read_config("small") == with_lopt
    assert type(load("small")) is not type(a_rule())
    params = {"w": jnp.ones(2)}
    tx = as_optax("small", horizon=10)
    assert jax.tree.structure(tx.init(params)) == jax.tree.structure(load("small").init(params, 10))
    for path in ("./small", "small/", tmp_path / "small", str(tmp_path / "small"), Path("small")):
        assert type(load(path)) is type(a_rule()), path


def test_an_empty_folder_does_not_hide_a_published_name():
    os.mkdir("small")
    assert read_config("small")["architecture"] == "paced-muon"
    assert "no readable config.json" in error_of(load, "./small")


def test_a_name_that_is_not_published_is_a_directory():
    save(a_rule(), "mine")
    assert type(load("mine")) is type(a_rule())


def test_what_save_returns_is_what_it_wrote_even_under_a_published_name():
    assert type(load(save(a_rule(), "small"))) is type(a_rule())


def test_a_path_that_is_no_directory_may_be_a_name():
    assert read_config(Path("small")) == read_config("small")
    assert "is neither a directory" in error_of(load, "./small")


# --- what is neither -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [3, None, b"small", ["small"], 0.5, object()], ids=lambda x: type(x).__name__
)
def test_what_is_neither_text_nor_a_path_is_a_type_error(name):
    for call in (load, read_config, lambda name: save(a_rule(), name)):
        with pytest.raises(TypeError, match=f"named by text or a path, not by {type(name).__name__}$"):
            call(name)
    with pytest.raises(TypeError, match="named by text or a path"):
        as_optax(name)


@pytest.mark.parametrize(
    "name",
    ["", "a\0b", "\n", "no\nsuch", "x" * 5000, "\x1b[31mred", "~/optimizer", "\udcff", "a/b/c", "/dev/zero"],
    ids=lambda name: ascii(name[:12]),
)
def test_odd_names_are_refused_when_loading(name):
    message = error_of(load, name)
    assert "neither a directory nor" in message or "is not a directory: name the one that" in message
    assert error_of(read_config, name) == message


def test_a_directory_is_called_by_a_long_name_with_its_middle_left_out():
    message = error_of(load, "start" + "x" * 5000 + "end")
    assert message.startswith("'startxxx")
    assert "xxxend' is neither" in message
    assert len(message) < 400


def test_a_tilde_is_explained():
    assert "write the full path" in error_of(load, "~/optimizer")
    assert "write the full path" in error_of(save, a_rule(), "~/optimizer")
    assert not os.path.lexists("~")


@pytest.mark.parametrize(
    "name", ["", "a\0b", "x" * 5000, "a/" + "x" * 5000], ids=lambda name: ascii(name[:3])
)
def test_odd_names_are_refused_when_saving(name):
    error_of(save, a_rule(), name)


def test_a_link_to_itself_is_refused():
    os.symlink("loop", "loop")
    assert "'loop' is not a directory" in error_of(load, "loop")
    assert "loop is not a directory" in error_of(save, a_rule(), "loop")
    error_of(load, "loop/below")
    assert "to loop/below: Too many levels of symbolic links" in error_of(save, a_rule(), "loop/below")


def test_a_file_is_refused():
    Path("file").write_text("precious")
    assert "'file' is not a directory: name the one that holds config.json" in error_of(load, "file")
    assert "file is not a directory" in error_of(save, a_rule(), "file")
    assert "no optimizer can be written to file/below: Not a directory" in error_of(
        save, a_rule(), "file/below"
    )
    assert Path("file").read_text() == "precious"


def test_a_directory_with_a_strange_name_is_used_and_its_name_escaped():
    strange = "line\nbreak \x1b[31m"
    rule = a_rule()
    np.testing.assert_array_equal(load(save(rule, strange)).log_eps, rule.log_eps)
    Path(strange, "config.json").unlink()
    assert r"line\nbreak \x1b[31m holds no published optimizer" in error_of(load, strange)


# --- runs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("older", [False, True])
def test_a_run_directory_is_told_from_a_published_one(older):
    run = RunDirectory(Path("run"))
    run.open(Options.of().run(), "lopt-train")
    if older:
        run.config.write_text(run.config.read_text().replace('"format": "lopt-run 1",', ""))
    before = run.config.read_bytes()
    message = "run is a run directory: `lopt-export run OUT_DIR` makes an optimizer of it"
    assert error_of(load, "run") == message
    assert error_of(read_config, "run") == message
    assert "run is a run directory of lopt-train: take another" in error_of(save, a_rule(), "run")
    assert run.config.read_bytes() == before


def test_published_names_are_sorted_and_each_is_there_once(tmp_path, monkeypatch):
    save(a_rule(0.1), tmp_path / "one" / "b")
    save(a_rule(0.2), tmp_path / "two" / "b")
    save(a_rule(0.3), tmp_path / "two" / "a")
    monkeypatch.setattr("lopt.publish._PUBLISHED", (tmp_path / "one", tmp_path / "two"))
    assert published() == ["a", "b"]
    np.testing.assert_allclose(np.exp(load("b").log_learning_rate), 0.1, rtol=1e-6)


# --- commands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["gone", "foreign"])
def test_lopt_eval_prints_no_escape_sequence_of_a_name_or_a_file(damage, capsys):
    strange = Path("\x1b[2J")
    strange.mkdir()
    if damage == "foreign":
        (strange / "config.json").write_text('{"\x1b[31m')
    assert lopt_eval([str(strange), "--suite", "quadratics"]) == 1
    line = capsys.readouterr().err
    assert line.startswith(r"lopt-eval: \x1b[2J")
    assert line.endswith("\n")
    assert line[:-1].isprintable()

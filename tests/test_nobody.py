"""A user without a passwd entry and without a home, as containers have them, can use every command."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from meta_train import WandBOptions, keep_compiled_programs
from meta_train.host.home import home, user_name
from tasks import DatasetNotPreparedError, load_dataset

REPOSITORY = Path(__file__).parents[1]
WITHOUT_HOME = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
# The effective user stays root, so that Python's own files can be read.
PROGRAM = """
import json, os, sys
if os.getuid() == 0:
    os.setreuid(54321, 0)
else:
    import pwd
    def nobody(_):
        raise KeyError
    pwd.getpwuid = pwd.getpwnam = nobody
import eval.cli, tasks.data.data_cli
from meta_train.commands import export, train
mains = {"train": train, "export": export, "eval": eval.cli, "data": tasks.data.data_cli}
print(json.dumps([mains[name].main(arguments) for name, *arguments in json.loads(sys.argv[1])]))
"""


def call(place, *lines):
    """Call commands one after another in a process of nobody; return their statuses and all errors."""
    given = os.environ.copy()
    for name in (*WITHOUT_HOME, "TFDS_DATA_DIR"):
        given.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([line.split() for line in lines])],
        cwd=place,
        env=given | {"PYTHONPATH": str(REPOSITORY), "MPLCONFIGDIR": str(place / "matplotlib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_every_command_works_or_says_what_to_type(tmp_path):
    statuses, errors = call(
        tmp_path,
        "train tiny --run-dir run --task quadratic --particles 4 --window 5 --horizon-high 10 --devices 1 "
        "--reference-rates 0 --hysteresis-particles 0 --validation-episodes 1 --steps 1 --no-progress",
        "export run out",
        "data list",
        "data prepare digits",
        "data list --data-dir ~nobodyatall/data",
        "eval adam --suite digits --out report",
    )
    assert "Traceback" not in errors
    assert statuses == [0, 0, 1, 1, 1, 1], errors
    assert (tmp_path / "out" / "theta.safetensors").is_file()
    *_, one, two, three, four = errors.splitlines()
    for line in (one, two, four):
        assert "there is no home directory for '~/tensorflow_datasets': set TFDS_DATA_DIR" in line
    assert "there is no home directory for '~nobodyatall/data'" in three
    who = json.loads((tmp_path / "run" / "lock.json").read_text())["user"]
    assert who == str(54321 if os.getuid() == 0 else os.getuid())


@pytest.fixture
def nobody(monkeypatch):
    """Have neither an entry nor a home within this process."""

    def unknown(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in WITHOUT_HOME:
        monkeypatch.delenv(name, raising=False)


def test_nobody_is_called_by_a_number_and_has_no_home(nobody, monkeypatch):
    assert user_name() == str(os.getuid())
    assert home() is None
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    with pytest.raises(DatasetNotPreparedError, match="set TFDS_DATA_DIR"):
        load_dataset("digits")


def test_compiled_programs_are_kept_where_there_is_a_place(nobody, monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "given"))
        keep_compiled_programs()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "given")
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
        for nowhere in (None, str(tmp_path / "missing"), os.devnull):
            if nowhere:
                monkeypatch.setenv("HOME", nowhere)
            keep_compiled_programs()
            assert jax.config.jax_compilation_cache_dir is None
        monkeypatch.setenv("HOME", str(tmp_path))
        keep_compiled_programs()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / ".cache" / "lopt" / "jax")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_wandb_is_given_a_home(nobody, monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    from meta_train import WandB

    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("HOME")
    try:
        with WandB(tmp_path, WandBOptions(mode="offline", project="lopt-tests")) as tracker:
            tracker.log(1, {"meta/loss": 1.0})
    finally:
        wandb.teardown()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))

"""A published optimizer is replaced as a whole or not at all, and nothing else is ever overwritten."""

import errno
import json
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

from lopt import PublishedOptimizerError, create, load, read_config, save

NAMES = {"config.json", "theta.safetensors"}


def a_rule(seed):
    """Rules of one shape, so that only a checksum tells their files apart."""
    return create("star", jax.random.key(seed))


def files(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def failing(monkeypatch, first, last):
    """Let the disk be full for the calls of these numbers; return the list of calls, which fills."""
    calls = []

    def counted(name, real):
        def call(*arguments, **options):
            calls.append(name)
            if first <= len(calls) <= last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        return call

    for owner, name in ((os, "replace"), (os, "link"), (os, "fsync"), (Path, "open")):
        monkeypatch.setattr(owner, name, counted(name, getattr(owner, name)))
    return calls


def calls_of_a_save(path):
    with pytest.MonkeyPatch.context() as patch:
        calls = failing(patch, 0, 0)
        save(a_rule(0), path)
    return calls


def error_of_a_save(*arguments):
    """Return the error, or None where it went well all the same."""
    try:
        save(*arguments)
    except PublishedOptimizerError as error:
        return error


@pytest.fixture
def published(tmp_path):
    """A good published optimizer, to be replaced."""
    return save(a_rule(1), tmp_path / "mine", {"note": "old"})


def test_both_files_are_on_the_disk_before_either_is_replaced(published):
    calls = calls_of_a_save(published)
    assert calls.count("replace") == 2
    assert calls[: calls.index("replace")].count("open") == 2
    assert calls[: calls.index("replace")].count("fsync") == 2


def test_a_disk_that_is_full_at_any_moment_leaves_the_old_optimizer_or_the_new(published, monkeypatch):
    before = files(published)
    outcomes = []
    for number in range(1, 15):  # there are fewer calls than that
        with monkeypatch.context() as patch:
            calls = failing(patch, number, number)
            error = error_of_a_save(a_rule(2), published, {"note": "new"})
        if error:
            assert (type(error).__mro__.count(OSError), error.errno) == (1, errno.ENOSPC)
            assert str(error) == f"no optimizer can be written to {published}: No space left on device"
            assert files(published) == before
            outcomes.append(calls[number - 1])
            continue
        assert read_config(published)["provenance"] == {"note": "new"}
        np.testing.assert_array_equal(load(published).layers[0]["kernel"], a_rule(2).layers[0]["kernel"])
        assert files(published).keys() == NAMES
        save(a_rule(1), published, {"note": "old"})
    assert outcomes.count("open") == outcomes.count("fsync") == outcomes.count("replace") == 2


def test_a_disk_that_stays_full_never_mixes_two_optimizers_without_a_word(published, monkeypatch):
    before, mixed = files(published), 0
    calls = calls_of_a_save(published)
    save(a_rule(1), published, {"note": "old"})
    last = max(number for number, name in enumerate(calls, 1) if name == "replace")
    for number in range(1, last + 1):
        with monkeypatch.context() as patch:
            failing(patch, number, 10**9)
            assert error_of_a_save(a_rule(2), published, {"note": "new"})
        if files(published) != before:  # not even a rename back was possible
            mixed += 1
            with pytest.raises(PublishedOptimizerError, match="truncated or was altered: its checksum"):
                load(published)
        save(a_rule(1), published, {"note": "old"})
        assert files(published) == before
    assert mixed == 1


def test_a_first_publication_that_fails_leaves_nothing(tmp_path, monkeypatch):
    for number in range(1, len(calls_of_a_save(tmp_path / "other")) + 1):
        with monkeypatch.context() as patch:
            calls = failing(patch, number, number)
            error = error_of_a_save(a_rule(2), tmp_path / "new")
        if error:
            assert not (tmp_path / "new").exists()
            continue
        assert calls[number - 1] in ("link", "fsync")  # the directory's own fsync is not for everyone
        for name in NAMES:
            (tmp_path / "new" / name).unlink()
        (tmp_path / "new").rmdir()


@contextmanager
def files_of_at_most(bytes):
    """Let this process write no file any larger: the system cuts them, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_is_really_cut_leaves_the_old_optimizer(published):
    rule, before = a_rule(2), files(published)
    with files_of_at_most(500), pytest.raises(OSError, match="File too large"):
        save(rule, published)
    assert files(published) == before


def test_a_file_system_without_hard_links_will_do(published, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    before = files(published)
    with monkeypatch.context() as patch:
        failing(patch, 8, 8)
        with pytest.raises(PublishedOptimizerError):
            save(a_rule(2), published)
    assert files(published) == before
    save(a_rule(2), published)
    assert read_config(published)["provenance"] == {}


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(published, tmp_path):
    (tmp_path / "precious").write_text("precious")
    for name in NAMES:
        os.symlink(tmp_path / "precious", published / f"{name}.tmp")
        os.symlink(tmp_path / "precious", published / f"{name}.old")
    save(a_rule(2), published)
    assert (tmp_path / "precious").read_text() == "precious"
    assert files(published).keys() == NAMES


# --- what else is in the directory -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("thesis.tex", "precious"),
        ("config.json", '{"model_type": "llama"}'),
        ("config.json", '{"format": 1}'),
        ("config.json", "precious"),
        ("theta.safetensors", "precious"),
        (".hidden", ""),
    ],
)
def test_a_directory_of_something_else_is_refused_and_left_alone(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(PublishedOptimizerError) as info:
        save(a_rule(0), tmp_path)
    assert str(info.value) == (
        f"{tmp_path} is not empty and holds no published optimizer to replace: take another"
    )
    assert files(tmp_path) == {name: text.encode()}


def test_an_empty_directory_and_an_optimizer_that_is_damaged_or_newer_may_be_replaced(tmp_path):
    assert save(a_rule(0), tmp_path) == tmp_path
    (tmp_path / "theta.safetensors").write_bytes(b"")
    save(a_rule(0), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"format": 2}))
    save(a_rule(0), tmp_path)
    load(tmp_path)


def test_files_beside_a_published_optimizer_stay(published):
    (published / "eval.json").write_text("numbers")
    save(a_rule(2), published)
    assert files(published).keys() == {"eval.json", *NAMES}


def test_what_a_process_that_died_left_is_taken_over(published):
    """It died between its two renames, into a directory that was empty."""
    (published / "config.json").rename(published / "config.json.tmp")
    save(a_rule(2), published)
    assert files(published).keys() == NAMES
    load(published)

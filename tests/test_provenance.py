"""A result names the commit of lopt's own source, and no other repository's."""

import shutil
import subprocess

import pytest

from meta_train.host import provenance

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]


def git(folder, *arguments):
    done = subprocess.run([*GIT, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, and lopt's file in a folder of it, not committed."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    (tmp_path / "mine.py").write_text("")
    file = tmp_path / ".venv" / "provenance.py"
    file.parent.mkdir()
    shutil.copy(provenance.__file__, file)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "--quiet", "-m", "mine")
    monkeypatch.setattr(provenance, "__file__", str(file))
    return tmp_path


def test_an_lopt_that_lies_in_another_repository_has_no_commit(repository):
    assert provenance.provenance("x")["commit"] == "unknown"
    (repository / ".gitignore").write_text(".venv")
    assert provenance.provenance("x")["commit"] == "unknown"


def test_a_checkout_has_its_own_commit_and_says_when_it_was_changed(repository):
    git(repository, "add", "--force", ".venv")
    git(repository, "commit", "--quiet", "-m", "lopt")
    commit = git(repository, "rev-parse", "--short=12", "HEAD")
    assert provenance.provenance("x")["commit"] == commit
    (repository / "mine.py").write_text("changed")
    assert provenance.provenance("x")["commit"] == f"{commit}-dirty"


def test_without_git_or_a_repository_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.provenance("x")["commit"] == "unknown"
    monkeypatch.setenv("PATH", "")
    assert provenance.provenance("x")["commit"] == "unknown"

"""An optimizer on the Hugging Face Hub is loaded and pushed by name; a stand-in answers for the Hub."""

import itertools
import json
import os
import pickle
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

import lopt
from eval import find, find_all
from lopt.model_card import model_card
from meta_train import LearnedOptimizerTraining
from meta_train.commands import export as export_cli

from .hub_server import TOKEN, Hub
from .small_runs import SMALL_RUN, trained_run

LIBRARY = "huggingface_hub"
PROVENANCE = {
    "command": "lopt-train mine",
    "tasks": ["digits-mlp"],
    "meta_steps": 1000,
    "versions": {"jax": "0.10"},
}
NAMES = {"config.json", "theta.safetensors"}


def library_modules():
    return [name for name in sys.modules if name.partition(".")[0] == LIBRARY]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A server; the library is imported anew, because it reads its environment when it is."""
    with Hub() as server, pytest.MonkeyPatch.context() as patch:
        for name in library_modules():
            patch.delitem(sys.modules, name)
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
            patch.delenv(name)
        patch.setenv("HF_ENDPOINT", server.url)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        yield server
        for name in library_modules():
            del sys.modules[name]


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def directory(tmp_path):
    return lopt.save(a_rule(), tmp_path / "mine", PROVENANCE)


def a_rule(rate=0.1):
    return lopt.create("learnable-adam", jax.random.key(0), learning_rate=rate)


def files_of(directory):
    return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


def assert_same(rule, expected):
    jax.tree.map(np.testing.assert_array_equal, rule, expected)


def error_of(call, *arguments):
    """Return the one sentence that a call gives, fit for a terminal."""
    with pytest.raises(lopt.PublishedOptimizerError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return message


# --- loading ---------------------------------------------------------------------------------------------


def test_only_what_an_optimizer_consists_of_is_downloaded(hub, directory):
    hub.commit(
        "user/adam", files_of(directory) | {"model.pkl": b"x", "setup.py": b"x", "README.md": b"# Adam"}
    )
    assert_same(lopt.load("hf://user/adam"), a_rule())
    assert lopt.read_config("hf://user/adam")["provenance"] == PROVENANCE
    assert lopt.as_optax("hf://user/adam").init({"w": np.ones(2, np.float32)})
    assert {path.name for path in lopt.locate("hf://user/adam").iterdir()} == {*NAMES, "README.md"}
    assert not [path for _, path in hub.asked if "model.pkl" in path or "setup.py" in path]


def test_the_newest_version_is_taken_unless_another_is_named(hub, directory, tmp_path):
    first = hub.commit("user/versions", files_of(directory))
    assert_same(lopt.load("hf://user/versions"), a_rule())
    hub.commit("user/versions", files_of(lopt.save(a_rule(0.3), tmp_path / "second")))
    assert_same(lopt.load("hf://user/versions"), a_rule(0.3))
    assert_same(lopt.load(f"hf://user/versions@{first}"), a_rule())
    message = error_of(lopt.load, "hf://user/versions@v9")
    assert message == "hf://user/versions has no revision 'v9'"


@pytest.mark.parametrize("way", ["told to be", "refused"])
def test_offline_the_cache_is_used(way, hub, directory, monkeypatch):
    from huggingface_hub import constants

    hub.commit(f"user/cached-{way[:4]}", files_of(directory))
    lopt.load(f"hf://user/cached-{way[:4]}")
    if way == "refused":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_same(lopt.load(f"hf://user/cached-{way[:4]}"), a_rule())
    message = error_of(lopt.load, "hf://user/never")
    assert message.startswith("hf://user/never is not in the cache, and can't be downloaded: ")
    assert ("offline" in message.lower()) == (way != "refused")


def test_a_repository_that_is_missing_or_not_yours_is_told(hub, directory, monkeypatch):
    hub.commit("user/secret", files_of(directory))
    hub.private.add("user/secret")
    for name in ("hf://user/nothing", "hf://user/secret"):
        message = error_of(lopt.load, name)
        assert (
            message
            == f"there is no {name} on the Hub, or it is private and this machine's token can't read it"
        )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert_same(lopt.load("hf://user/secret"), a_rule())


@pytest.mark.parametrize(
    "name",
    [
        *("", "user", "user/", "/name", "a/b/c", "../x", "user/..", "user/a b", "user/é", "user/\x1b[2J"),
        *("user/x.git", "user/" + "x" * 200, "user/name@", "user/name@../../x", "user/name@a b"),
        *("user/name@/x", "@main"),
    ],
    ids=ascii,
)
def test_what_can_be_no_name_is_refused_before_anything_is_asked(name, hub):
    before = len(hub.asked)
    message = error_of(lopt.load, f"hf://{name}")
    assert "can't be a repository of the Hugging Face Hub: write" in message or "is no revision of" in message
    assert len(hub.asked) == before


def test_without_the_library_its_extra_is_named(monkeypatch, directory):
    monkeypatch.setitem(sys.modules, LIBRARY, None)
    message = error_of(lopt.load, "hf://user/name")
    assert message == "hf://user/name needs the package huggingface_hub: type `pip install 'lopt[hub]'`"
    assert "pip install 'lopt[hub]'" in error_of(lopt.push, directory, "user/name")


class Malicious:
    """Something that makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_what_was_downloaded_is_checked_like_any_directory(hub, directory, tmp_path):
    good, trace = files_of(directory), tmp_path / "executed"
    config, weights = (good[name] for name in ("config.json", "theta.safetensors"))
    spoilt = {
        "truncated": (
            {"config.json": config, "theta.safetensors": weights[:-1]},
            "is truncated or was altered",
        ),
        "pickled": (
            {"config.json": config, "theta.safetensors": pickle.dumps(Malicious(trace))},
            "is truncated or was altered",
        ),
        "a-language-model": (
            {"config.json": b'{"model_type": "bert"}'},
            "is not the config of a published opt",
        ),
        "no-weights": ({"config.json": config}, "has no readable theta.safetensors"),
        "empty": ({".gitattributes": b""}, "no readable config.json"),
    }
    for name, (files, says) in spoilt.items():
        hub.commit(f"user/{name}", files)
        message = error_of(lopt.load, f"hf://user/{name}")
        assert says in message
        assert f"models--user--{name}" in message
    assert not trace.exists()


def test_it_can_be_benchmarked_and_trained_further(hub, directory, tmp_path):
    hub.commit("user/small", files_of(directory))
    found = find("hf://user/small@main")
    assert (found.name, found.origin) == ("small", PROVENANCE)
    assert_same(found.optimizer, a_rule())
    assert [one.name for one in find_all(["small", "hf://user/small"])] == ["small", "hf://user/small"]
    problem = LearnedOptimizerTraining(init_from="hf://user/small")
    start = problem.theta(jax.random.key(0))
    assert_same(start, a_rule())
    asked = len(hub.asked)
    problem.keep(tmp_path / "run", start)
    assert len(hub.asked) == asked
    kept = problem.kept_in(tmp_path / "run")
    assert_same(kept.theta(jax.random.key(0)), a_rule())
    assert len(hub.asked) == asked


# --- pushing ---------------------------------------------------------------------------------------------


def front_matter(card):
    _, head, body = card.split("---\n", 2)
    return yaml.safe_load(head), body


def cells(body):
    """Return what a reader sees in the cells of a card's tables."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    inside = [token for before, token in itertools.pairwise(tokens) if before.type in ("td_open", "th_open")]
    assert not [token for token in tokens if "html" in token.type]
    for token in inside:
        assert {child.type for child in token.children} <= {"text", "text_special"}, token.content
    return ["".join(child.content for child in token.children) for token in inside]


def test_what_was_pushed_is_loaded_by_the_name_that_comes_back(hub, directory, token):
    name = lopt.push(directory, "user/pushed")
    assert name == "hf://user/pushed"
    assert_same(lopt.load(name), a_rule())
    _, files = hub.version("user/pushed", "main")
    assert files.keys() == {*NAMES, "README.md", ".gitattributes"}
    head, body = front_matter(files["README.md"].decode())
    assert head == {"library_name": "lopt", "tags": ["learned-optimizer", "jax", "optax", "learnable-adam"]}
    assert 'tx = lopt.as_optax("hf://user/pushed")\n' in body
    assert cells(body)[2:] == [
        *("command", "lopt-train mine", "tasks", "digits-mlp", "meta_steps", "1,000", "versions", "jax 0.10")
    ]
    assert files_of(directory).keys() == NAMES  # nothing is left in the directory


def test_a_benchmark_goes_into_the_card_and_an_old_one_goes(hub, directory, token):
    lopt.push("small", "user/benchmarked")
    _, files = hub.version("user/benchmarked", "main")
    assert "eval.json" in files
    body = front_matter(files["README.md"].decode())[1]
    assert "horizon=STEPS" in body
    seen = cells(body)
    row = seen.index("digits-mlp-family", seen.index("task"))
    assert seen[row : row + 4] == ["digits-mlp-family", "500", "0.00015", "0.00125"]
    lopt.push(directory, "user/benchmarked")
    assert "eval.json" not in hub.version("user/benchmarked", "main")[1]


def test_a_card_of_ones_own_is_kept(hub, directory, token):
    (directory / "README.md").write_text("# Mine\n")
    (directory / "notes.txt").write_text("private")
    lopt.push(directory, "hf://user/own-card")
    _, files = hub.version("user/own-card", "main")
    assert files["README.md"] == b"# Mine\n"
    assert "notes.txt" not in files


def test_the_hub_that_does_not_take_it_is_told_in_one_sentence(hub, directory, monkeypatch):
    before = len(hub.asked)
    message = error_of(lopt.push, directory, "user/name")
    assert message == "pushing to user/name needs a token: log in with `hf auth login`, or set HF_TOKEN"
    assert "can't be a repository" in error_of(lopt.push, directory, "name")
    assert len(hub.asked) == before
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "token may not write to user/name: log in" in error_of(lopt.push, directory, "user/name")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "token may not write to them/name: log in" in error_of(lopt.push, directory, "them/name")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "user/name could not be pushed: " in error_of(lopt.push, directory, "user/name")


RESULTS = json.loads((Path(__file__).parents[1] / "checkpoints" / "small" / "eval.json").read_text())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "its eval.json is not JSON"),
        ("[]", "its eval.json does not hold the results of a benchmark"),
        ('{"format": 1}', "its eval.json does not hold the results of a benchmark"),
        (json.dumps(RESULTS | {"tasks": [{"rows": 3}]}), "its eval.json does not hold the results of a"),
        (json.dumps(RESULTS | {"format": 2}), "its eval.json is not of format 1, which this version of lopt"),
        (json.dumps(RESULTS), "its eval.json is about another theta: evaluate this one, or remove the file"),
    ],
    ids=["no JSON", "a list", "nothing", "odd", "newer", "another theta"],
)
def test_a_benchmark_of_something_else_is_not_pushed(text, says, hub, directory, token):
    (directory / "eval.json").write_text(text)
    before = len(hub.asked)
    assert says in error_of(lopt.push, directory, "user/other")
    assert len(hub.asked) == before


def test_only_what_loads_is_pushed(hub, directory, token):
    (directory / "theta.safetensors").write_bytes(b"")
    assert "is truncated or was altered" in error_of(lopt.push, directory, "user/bad")
    assert "user/bad" not in hub.commits


HOSTILE = [
    'a"\n---\nlicense: mit\n---\n# Title',
    "x | y \\| z",
    "```\ncode `b` ``",
    "<script>alert(1)</script> &amp; <!--",
    "[text](http://example.com) ![i](x) **b** _i_ ~~s~~ $x$ http://example.com",
    "\\",
    "\x1b[2J\u2028é𝄞",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_breaks_out_of_the_card(name):
    config = {"architecture": name, "provenance": {name: [name, 1.5, None], "tasks": name}}
    rows = [{"label": name, "final_loss": [1.0, None, 2.0]}, {"label": "adam", "final_loss": [None]}]
    results = {
        "format": 1,
        "suite": name,
        "seeds": 3,
        "origins": {name: config["provenance"]},
        "tasks": [{"task": name, "horizon": 1000, "declared": 0.5, "rows": rows}],
    }
    head, body = front_matter(model_card("user/name", a_rule(), config, results))
    shown = lopt.plain(name)
    assert head == {"library_name": "lopt", "tags": ["learned-optimizer", "jax", "optax", shown]}
    assert cells(body) == [
        *("entry", "value", shown, f"{shown}, 1.5, unknown", "tasks", shown),
        *("task", "steps", shown, "adam", f"{shown} (declared 0.5x)", "1,000", "2", "diverged"),
    ]
    headings = [token.tag for token in MarkdownIt().parse(body) if token.type == "heading_open"]
    assert headings == ["h1", "h2", "h2"]


def test_lopt_export_pushes_what_it_wrote(hub, token, tmp_path, capsys):
    config = SMALL_RUN.replace(steps=2)
    run, thetas = trained_run(tmp_path / "run", config)
    out = str(tmp_path / "out")
    assert export_cli.main([str(run.path), out, "--push", "user/exported"]) == 0
    assert_same(lopt.load("hf://user/exported"), thetas[-1])
    wrote, uploaded = capsys.readouterr().out.splitlines()
    assert wrote.startswith(f"wrote {out}; use it with")
    assert uploaded == "uploaded it; use it with lopt.as_optax('hf://user/exported', horizon=STEPS)"
    assert export_cli.main([str(run.path), out, "--push", "exported"]) == 1
    assert capsys.readouterr().err == (
        "lopt-export: 'exported' can't be a repository of the Hugging Face Hub: write USER/NAME\n"
    )

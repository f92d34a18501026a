"""The files for those who carry the project on say the same as the project itself."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def jobs():
    return [job for path in WORKFLOWS for job in yaml.safe_load(path.read_text())["jobs"].values()]


def test_workflows_test_every_python_that_is_promised():
    promised = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    for job in jobs():
        versions = job.get("strategy", {}).get("matrix", {}).get("python", promised)
        assert versions == promised


def test_workflows_run_what_there_is_and_may_only_read():
    lines = [step["run"] for job in jobs() for step in job["steps"] if "run" in step]
    assert {line.split()[0] for line in lines} == {"make", "scripts/try_wheel.sh"}
    assert {line.split()[1] for line in lines if line.startswith("make")} == {"test", "docs"} <= TARGETS
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
        assert "secrets" not in path.read_text()


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_issue_templates_ask_for_what_a_report_needs(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= form.keys()
    assert all({"type", "id", "attributes"} <= field.keys() for field in form["body"])
    assert len({field["id"] for field in form["body"]}) == len(form["body"])


def test_the_citation_names_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_the_image_is_the_one_that_the_jobset_names():
    text = (ROOT / "Dockerfile").read_text()
    image = re.search(r"docker build -t (\S+) ", text)[1]
    assert re.findall(r"image: (\S+)", (ROOT / "scripts/k8s/jobset.yaml").read_text()) == [image]
    assert image == f"lopt:{'.'.join(PROJECT['version'].split('.')[:2])}"
    assert {"train", "cuda"} <= PROJECT["optional-dependencies"].keys()
    assert len(text.splitlines()) <= 10


def test_the_wheels_script_is_a_bash_script_without_mistakes_of_syntax():
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / "try_wheel.sh")], check=True)
    assert (ROOT / "scripts" / "try_wheel.sh").stat().st_mode & 0o111


def test_every_page_is_in_the_sites_contents():
    text = (ROOT / "mkdocs.yml").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert not sorted(page for page in pages if f": {page}\n" not in text)


@pytest.mark.slow
def test_the_site_is_built_without_warnings(tmp_path):
    copy = tmp_path / "lopt"
    copy.mkdir()
    for name in (
        "checkpoints",
        "docs",
        "eval",
        "lopt",
        "meta_train",
        "notebooks",
        "scripts",
        "tasks",
        "tests",
    ):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "README.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, copy)
    done = subprocess.run([sys.executable, "scripts/make_site.py"], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = [path.read_text() for path in (copy / "build" / "site").rglob("*.html")]
    assert len(pages) > 20
    # Nothing is loaded from elsewhere.
    assert not re.findall(r"""<(?:script|img|link)[^>]*(?:src|href)=["']?https?://[^"'>]*""", "".join(pages))

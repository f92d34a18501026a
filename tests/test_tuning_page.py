"""What docs/tuning.md shows is run: its files, its commands and its Python."""

import re
import shlex
from pathlib import Path

import pytest

from meta_train import OPTIMIZERS, SCHEDULES, Run
from meta_train.tuning.known import LOSS

from .test_extending import run

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "tuning.md").read_text()
FILES = dict(re.findall(r"^<!-- file: (\w+\.py) -->\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
BRIEFLY = (
    "--steps 2 --particles 2 --horizon-high 10 --window 5 --reference-rates 0 --validation-episodes 1 "
    "--no-progress"
)

pytestmark = pytest.mark.usefixtures("default_promotion")


def tune(folder, line):
    return run([*shlex.split(line), *BRIEFLY.split()], folder)


def test_a_model_and_an_optimizer_of_ones_own_are_tuned(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    assert FILES.keys() == {"my_model.py", "my_rule.py"}
    (line,) = re.findall(r"^lopt-tune my-model .*$", PAGE, re.MULTILINE)
    assert "optax.adam(" in tune(tmp_path, line)
    line = "lopt-tune my-model --import my_model.py my_rule.py --tune learning_rate,temper --optimizer signed"
    assert "signed(learning_rate=" in tune(tmp_path, f"{line} --surface 0 --run-dir runs/signed")


def test_the_python_makes_a_run():
    (text,) = re.findall(r"^```python\nfrom meta_train import PES.*?^```$", PAGE, re.DOTALL | re.MULTILINE)
    made: dict = {}
    exec(text.removeprefix("```python\n").removesuffix("```"), made)
    assert isinstance(made["run"], Run)


def test_the_page_names_all_that_can_be_tuned():
    kinds = [*(one.hyperparameters for one in (*OPTIMIZERS.values(), *SCHEDULES.values())), LOSS]
    names = {name for kind in kinds for name in kind} - {f"knot_{n}" for n in range(2, 5)}
    assert not [
        name for name in (*names, *OPTIMIZERS, *SCHEDULES) if f"`{name}`" not in PAGE and name != "constant"
    ]

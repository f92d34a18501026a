"""What a user asked for wrongly is told in one sentence; a fault of a user's own code keeps its traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

import lopt
import meta_train
import tasks

ROOT = Path(__file__).parents[1]
ODD_TASK = """
import jax.numpy as jnp
import tasks

@tasks.register("odd")
def odd():
    return Odd()

class Odd(tasks.Task):
    def sample(self, key): return ()
    def init(self, instance, key):
        {fault}
    def batch(self, instance, key, split): return ()
    def loss(self, instance, params, batch, key): return jnp.sum(params ** 2)
    @property
    def ceiling(self): return 10.0
"""
FAULTS = {
    'raise ValueError("my own")': "ValueError: my own",
    'raise RuntimeError("my own")': "RuntimeError: my own",
    'open("/no/such/file")': "FileNotFoundError",
    "import no_such_module": "ModuleNotFoundError",
    "return jnp.zeros(3) + jnp.zeros(2)": "add got incompatible shapes",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_a_users_task_keeps_its_traceback(tmp_path, fault):
    (tmp_path / "odd.py").write_text(ODD_TASK.format(fault=fault))
    line = "tiny --task odd --import odd.py --steps 1 --particles 2 --devices 1 --run-dir run --no-progress"
    program = "import sys; from meta_train.commands.train import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, *line.split()],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert f'odd.py", line {ODD_TASK.splitlines().index("        {fault}") + 1}' in done.stderr
    assert FAULTS[fault] in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error",
    [
        *(lopt.PublishedOptimizerError, lopt.UsageError),
        *(tasks.DatasetNotPreparedError, tasks.UsageError, meta_train.RunDirectoryError),
    ],
)
def test_our_own_errors_are_told_in_one_sentence(error):
    assert issubclass(error, meta_train.USAGE_ERRORS)


def test_a_value_error_is_not_ours():
    assert not issubclass(ValueError, meta_train.USAGE_ERRORS)
    assert not issubclass(lopt.UsageError, tasks.UsageError)  # the floors know nothing of each other

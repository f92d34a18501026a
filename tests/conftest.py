"""What every test runs under: eight virtual CPU devices, a compilation cache, fresh folders, no W&B.

JAX raises where a shape would get an axis or a dtype would widen unasked: both hide mistakes.

Programs that tests start inherit the environment set here, but not the eight devices.
"""

import gc
import itertools
import os
import shutil
import signal
import tempfile
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPOSITORY / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Threads of the CPU client. With as many as devices, two reductions of one program can wait for each other.
os.environ.setdefault("NPROC", "64")
# Compiling is most of what tests wait for. The compiler's last passes save less time than they take here.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
if version("jaxlib").startswith("0.10."):
    # Without these emitters, tests' programs compile in about half the time. Later versions lack the flag,
    # and a flag that XLA does not know ends the process.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ["WANDB_ERROR_REPORTING"] = "false"
os.environ["WANDB_SILENT"] = "true"

# Programs inherit what is ignored: under `nohup`, or in the background of a script, that would be these.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# One data directory a session. pytest-xdist's workers start later, and inherit it.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not IS_WORKER:
    os.environ["TFDS_DATA_DIR"] = tempfile.mkdtemp(prefix="lopt-tests-")
    os.environ["LOPT_HOME"] = os.path.join(os.environ["TFDS_DATA_DIR"], "no-optimizers")

import jax  # noqa: E402  (it reads the environment when it is imported)
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture
def default_promotion(monkeypatch):
    """What JAX does unless it is told otherwise, here and in programs that are started: for users' code."""
    monkeypatch.setenv("JAX_NUMPY_RANK_PROMOTION", "allow")
    monkeypatch.setenv("JAX_NUMPY_DTYPE_PROMOTION", "standard")
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


_tests_done = itertools.count(1)


@pytest.fixture(autouse=True)
def few_programs():
    """Drop compiled programs every few tests, if there are many.

    Each takes several memory mappings, of which Linux allows a process 65,530: beyond, the compiler crashes.
    A file can compile that many by itself. Counting them takes some 10 ms, so not every test does.
    """
    yield
    maps = Path("/proc/self/maps")
    if next(_tests_done) % 10 == 0 and maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def optimised():
    """Compile as users' programs are compiled, for tests of what the compiler makes."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, False)
    yield
    jax.config.update(name, before)


def pytest_unconfigure(config):
    """Remove the session's data directory when the last worker is done."""
    if not IS_WORKER:
        shutil.rmtree(os.environ["TFDS_DATA_DIR"], ignore_errors=True)

"""What docs/use.md shows is run: its examples print what stands below them, and its sentences are true."""

import contextlib
import functools
import io
import json
import math
import re
import runpy
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import lopt
from lopt.orthogonal import orthogonalise

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "use.md").read_text()
SECTIONS = {text.partition("\n")[0]: text for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
DIVIDED = "Parameters divided among devices"
PARAMS = {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}

pytestmark = pytest.mark.usefixtures("default_promotion")


def blocks(title, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTIONS[title], re.DOTALL | re.MULTILINE)


@functools.cache
def ran(title):
    """The names that a section's example defines, and what it prints. Its blocks belong together."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()) as printed,
    ):
        Path("example.py").write_text("\n".join(blocks(title, "python")))
        return runpy.run_path("example.py"), printed.getvalue()


def skip_without_eight_devices(title=DIVIDED):
    if title == DIVIDED and jax.device_count() != 8:
        pytest.skip("it needs eight devices")


@pytest.mark.parametrize("title", SECTIONS)
def test_the_example_runs_and_prints_what_stands_below_it(title):
    skip_without_eight_devices(title)
    _, printed = ran(title)
    assert printed == "".join(blocks(title, "text"))


def test_every_section_has_an_example_and_is_in_the_table_of_contents():
    anchors = [re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in SECTIONS]
    entries = re.findall(r"^\* \[(.*?)\]\(#(.*?)\)", PAGE.partition("\n## ")[0], re.MULTILINE)
    assert entries == list(zip(SECTIONS, anchors, strict=True))
    assert all(blocks(title, "python") for title in SECTIONS)
    assert all(anchor in anchors for anchor in re.findall(r"\]\(#(.*?)\)", PAGE))


# --- what sentences say ----------------------------------------------------------------------------------


READ_THE_LOSS = {"celo", "celo-adam", "tensor-lstm", "velo"}


@pytest.mark.parametrize("name", sorted(lopt.ARCHITECTURES))
def test_no_other_rule_reads_the_loss(name):
    tx = lopt.as_optax(lopt.create(name, jax.random.key(0)), horizon=100)
    expected = pytest.raises(TypeError) if name in READ_THE_LOSS else contextlib.nullcontext()
    with expected:
        unreadable = object()
        jax.eval_shape(lambda: tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=unreadable))


def test_small_was_ahead_of_tuned_adam_on_every_task_with_a_wrong_horizon():
    report = json.loads((ROOT / "checkpoints" / "small" / "eval.json").read_text())
    runs = [run for run in report["tasks"] if run["part"] == "wrong-horizon"]
    assert sorted(run["declared"] for run in runs) == 4 * [0.5] + 4 * [2.0]
    for run in runs:
        small, adam = (
            next(sum(row["mean_loss"]) for row in run["rows"] if row["optimizer"] == name)
            for name in ("small", "adam")
        )
        assert small < adam


def test_the_divided_step_is_compiled_once_and_gathers_no_tensor_and_its_numbers_are_everywhere():
    skip_without_eight_devices()
    names, _ = ran(DIVIDED)
    params, state = names["params"], names["state"]
    assert names["step"]._cache_size() == 1
    program = names["step"].lower(params, state, names["batch"]).compile().as_text()
    # Others are of the loss, and of its batch.
    by_the_rule = "\n".join(
        line for line in program.splitlines() if "jvp" not in line and 'op_name="batch"' not in line
    )
    gathered = re.findall(r"\[([\d,]*)\]\S* all-gather\(", by_the_rule)
    assert all(math.prod(map(int, dims.split(","))) < 16 for dims in gathered)  # the bias has 16
    for numbers in (state.scale, *state.paces, state.count):
        assert numbers.sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("shape", "divided", "is_gathered"),
    [
        ((16, 32), 0, True),
        ((16, 32), 1, False),
        ((32, 16), 0, False),
        ((32, 16), 1, True),
        ((16, 16), 0, True),
        ((16, 16), 1, False),
        ((3, 3, 8, 16), 3, True),
    ],
)
def test_a_matrix_is_gathered_where_it_is_divided_along_its_shorter_side(shape, divided, is_gathered):
    skip_without_eight_devices()
    mesh = jax.make_mesh((8,), ("fsdp",), (AxisType.Auto,))
    placement = NamedSharding(mesh, P(*["fsdp" if axis == divided else None for axis in range(len(shape))]))
    layout = lopt.layouts({"kernel": jnp.ones(shape)})["kernel"]
    jitted = jax.jit(lambda x: orthogonalise(x, layout), out_shardings=placement)
    program = jitted.lower(jax.ShapeDtypeStruct(shape, jnp.float32, sharding=placement)).compile().as_text()
    assert ("all-gather(" in program) == is_gathered


def test_multi_steps_computes_an_update_for_every_batch():
    """So it is with optax 0.2.8: once it is otherwise, the page can leave that out."""
    computed = []

    def update(updates, state, params=None):
        jax.debug.callback(lambda: computed.append(True))
        return updates, state

    tx = optax.MultiSteps(optax.GradientTransformation(lambda params: optax.EmptyState(), update), 3)
    state = tx.init(PARAMS)
    for _ in range(6):
        _, state = tx.update(PARAMS, state, PARAMS)
    jax.effects_barrier()
    assert len(computed) == 6


@pytest.mark.parametrize(("rate", "size"), [(-0.01, 0.99), (0.01, 1.01)])
def test_weights_shrink_with_a_negative_rate_and_grow_with_a_positive_one(rate, size):
    rule = lopt.create("learnable-adam", jax.random.key(0))
    tx = optax.chain(lopt.as_optax(rule), optax.add_decayed_weights(rate))
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), tx.init(PARAMS), PARAMS)
    assert jnp.allclose(optax.apply_updates(PARAMS, updates)["kernel"], size)

"""Parts of theta are frozen by patterns of the names of its arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt


@pytest.fixture(scope="module")
def rule():
    return lopt.create("celo", jax.random.key(0), lstm_size=3)


def named(mask):
    """The names of the arrays that are trained."""
    leaves, _ = jax.tree.flatten_with_path(mask)
    return {jax.tree_util.keystr(path, simple=True, separator=".") for path, kept in leaves if kept}


def test_what_is_frozen_stays_as_it_was(rule):
    mask = lopt.trainable(rule, frozen=["mlp"])
    tx = optax.chain(optax.sgd(1.0), optax.masked(optax.set_to_zero(), jax.tree.map(lambda x: not x, mask)))
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, rule), tx.init(rule), rule)
    moved = optax.apply_updates(rule, updates)
    assert type(moved) is lopt.Celo
    jax.tree.map(np.testing.assert_array_equal, moved.mlp, rule.mlp)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b - 1), moved.scheduler, rule.scheduler)


def test_nothing_is_frozen_by_default(rule):
    mask = lopt.trainable(rule)
    assert all(jax.tree.leaves(mask))
    assert jax.tree.structure(mask) == jax.tree.structure(rule)


def test_a_pattern_is_a_name_the_beginning_of_names_or_has_stars(rule):
    mlp = {f"mlp.{layer}.{kind}" for layer in range(3) for kind in ("kernel", "bias")}
    everything = named(lopt.trainable(rule))
    assert named(lopt.trainable(rule, only=["mlp"])) == mlp
    assert named(lopt.trainable(rule, only=["mlp.1"])) == {"mlp.1.kernel", "mlp.1.bias"}
    assert named(lopt.trainable(rule, only=["mlp.?.bias"])) == {name for name in mlp if "bias" in name}
    assert named(lopt.trainable(rule, frozen=["scheduler", "mlp.2.bias"])) == mlp - {"mlp.2.bias"}
    assert named(lopt.trainable(rule, frozen=["scheduler"], only=["*.bias"])) == {
        name for name in mlp if name.endswith("bias")
    }
    assert named(lopt.trainable(rule, frozen=["mlp"])) == everything - mlp


def test_the_names_are_those_of_the_published_file(rule, tmp_path):
    import safetensors.numpy

    lopt.save(rule, tmp_path / "out", {})
    saved = safetensors.numpy.load_file(tmp_path / "out" / "theta.safetensors")
    assert named(lopt.trainable(rule)) == saved.keys()


@pytest.mark.parametrize(
    ("frozen", "complaint"),
    [
        (["layers"], r"called 'layers'; did you mean mlp or scheduler\?"),
        (["mlp", "schedule"], r"called 'schedule'; did you mean scheduler"),
        (["mlp.0.kernl"], r"called 'mlp.0.kernl'; did you mean mlp.0.kernel"),
        ("mlp", r"write \['mlp'\]"),
        (["mlp", "scheduler"], r"nothing of Celo's theta \(mlp, scheduler\) is left"),
        (["ml"], "called 'ml'"),
    ],
)
def test_what_matches_nothing_or_leaves_nothing_is_refused(rule, frozen, complaint):
    with pytest.raises(lopt.UsageError, match=complaint):
        lopt.trainable(rule, frozen=frozen)

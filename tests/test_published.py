"""What comes with lopt loads by name, is small, says where it comes from, and is worth loading."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import lopt
from eval import run_keys, stack, sweep_curves, training_curves
from eval.training.baselines import adam
from lopt import OptaxRule
from tasks import build

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
MOST_BYTES = 10_000

every_name = pytest.mark.parametrize("name", lopt.published())


def test_they_are_there():
    assert set(lopt.published()) >= {"small", "lite", "celo2-lopt", "small-2", "tiny-lstm"}
    index = (CHECKPOINTS / "README.md").read_text()
    assert all(f"`{name}`" in index for name in lopt.published())


@every_name
def test_the_files_are_small_and_tell_their_origin(name):
    weights = CHECKPOINTS / name / "theta.safetensors"
    assert weights.stat().st_size <= MOST_BYTES
    origin = lopt.read_config(name)["provenance"]
    # The preset `small` was called by its architecture's name at first, and that of `small-2` was `small`.
    preset = {"small": "paced-muon", "small-2": "small"}.get(name, name)
    place = name.removesuffix("-2")
    assert origin["command"] == f"lopt-train {preset} --run-dir runs/{place} --no-progress"
    assert origin["inner_steps"] > 0
    assert origin["commit"] != "unknown"
    assert not origin["commit"].endswith("dirty")


@every_name
def test_it_gets_a_loss_down_through_optax(name):
    rule = lopt.load(name)
    if name == "celo2-lopt":  # whose rate is the user's
        rule = rule.replace(step_scale=0.04)
    tx = optax.chain(optax.clip_by_global_norm(1.0), lopt.as_optax(rule, horizon=50))
    target = jax.random.normal(jax.random.key(0), (6, 4))
    loss_fn = lambda w: ((w - target) ** 2).mean()  # noqa: E731

    @jax.jit
    def train(w):
        def step(carry, _):
            w, state = carry
            updates, state = tx.update(jax.grad(loss_fn)(w), state, w)
            return (optax.apply_updates(w, updates), state), None

        return jax.lax.scan(step, (w, tx.init(w)), None, length=50)[0][0]

    start = 0.1 * jax.random.normal(jax.random.key(1), (6, 4))
    assert loss_fn(train(start)) < 0.5 * loss_fn(start)


def test_small_is_ahead_of_adam_at_its_best_rate_of_five():
    task, horizon, keys = build("digits-mlp"), 100, run_keys(7, 3, "digits-mlp")
    rates = (3e-3, 1e-2, 2e-2, 3e-2, 1e-1)
    rules = [OptaxRule.create(jax.random.key(0), adam, learning_rate=rate) for rate in rates]
    adams = sweep_curves(stack(rules), task, horizon, keys, points=1, batches=1).train
    own = training_curves(lopt.load("small"), task, horizon, keys, points=1, batches=1).train
    assert (own.mean(-1) < adams.mean(-1).min(0)).all()  # on every seed, against that seed's best
    assert np.isfinite(own).all()

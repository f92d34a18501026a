"""The rules with an LSTM do what their authors' code does, on recorded gradients and with their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.serialization import msgpack_restore

import lopt
from lopt import relative_mlp
from lopt.axis_order import stable
from lopt.importing import celo, rnn_mlp, velo
from lopt.recurrence import MixingRecurrence

from .recorded_trajectories import assert_it_repeats, distances, published_file, read_record, replay

IMPORTS = {
    "rnn-mlp": rnn_mlp.from_theta,
    "velo-small": velo.from_theta,
    "velo-edges": velo.from_theta,
    "celo-published": celo.from_theta,
    "celo-adam-published": celo.from_theta,
}
WEIGHTS = {"celo": lopt.Celo, "celo-adam": lopt.CeloAdam}


@pytest.mark.parametrize("name", IMPORTS)
def test_an_imported_rule_repeats_what_was_recorded(name):
    record = read_record(name)
    assert_it_repeats(IMPORTS[name](record.theta), record)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_published_file_holds_the_theta_of_the_record(name):
    theta = msgpack_restore(published_file(f"{name}.theta.state").read_bytes())
    rule, recorded = celo.from_theta(theta), celo.from_theta(read_record(f"{name}-published").theta)
    assert type(rule) is WEIGHTS[name]
    assert jax.tree.structure(rule) == jax.tree.structure(recorded)
    jax.tree.map(np.testing.assert_array_equal, rule, recorded)


def test_the_record_tells_another_order_of_equal_axes(monkeypatch):
    record = read_record("velo-edges")
    monkeypatch.setattr(relative_mlp, "AXIS_ORDER", stable)
    assert max(distances(replay(velo.from_theta(record.theta), record), record).values()) > 1e-3


@pytest.mark.parametrize(
    ("name", "scale"), [("velo-small", 99.9), ("rnn-mlp", None), ("celo-published", None)], ids=str
)
def test_the_record_tells_a_theta_that_is_a_little_off(name, scale):
    record = read_record(name)
    if scale is not None:
        rule = velo.from_theta(record.theta, mixture_scale=scale)
    else:
        rule = jax.tree.map(lambda x: 1.001 * x, IMPORTS[name](record.theta))
    assert max(distances(replay(rule, record), record).values()) > 1e-4


# --- what the records don't tell -------------------------------------------------------------------------

PARAMS = {"w": jnp.asarray([[0.3, -0.2], [0.1, 0.5]]), "b": jnp.asarray([0.2, -0.4])}
GRADS = jax.tree.map(lambda p: jnp.cos(7 * p), PARAMS)


def narrow(name, **static):
    return lopt.create(name, jax.random.key(0), lstm_size=5, **static)


@pytest.mark.parametrize("name", ["velo", "celo", "celo-adam"])
def test_no_loss_is_told_as_a_loss_of_which_little_was_seen(name):
    rule = narrow(name, **({"bank_size": 3} if name == "velo" else {}))
    start = rule.init(PARAMS, 10)
    without, _ = rule.update(GRADS, start, PARAMS)
    first, after = rule.update(GRADS, start, PARAMS, jnp.float32(3.0))
    jax.tree.map(np.testing.assert_array_equal, without, first)
    for loss in (2.0, 1.0):
        told, after = rule.update(GRADS, after, PARAMS, jnp.float32(loss))
    alone = start
    for _ in range(3):
        untold, alone = rule.update(GRADS, alone, PARAMS)
    assert not np.array_equal(told["w"], untold["w"])


def test_celos_second_phase_is_the_first_times_the_schedule():
    rule = narrow("celo")
    state = rule.init(PARAMS, 10)
    rate, _ = rule.scheduler.step(state.count, state.horizon, state.scheduler, None)
    first, _ = rule.replace(scheduled=False).update(GRADS, state, PARAMS)
    second, _ = rule.update(GRADS, state, PARAMS)
    assert 0.01 < rate < 1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(rate * a, b, rtol=1e-6), first, second)


def test_the_first_phase_does_not_depend_on_the_scheduler():
    rule = narrow("celo", scheduled=False)
    other = rule.replace(scheduler=jax.tree.map(lambda x: x + 1, rule.scheduler))
    updates = [one.update(GRADS, one.init(PARAMS, 10), PARAMS)[0] for one in (rule, other)]
    jax.tree.map(np.testing.assert_array_equal, *updates)


def test_velos_tensors_hear_of_one_another_and_celos_do_not():
    """A tensor's update changes with another tensor's moments, or it does not."""
    changes = {}
    for name, static in (("velo", {"bank_size": 3}), ("celo", {}), ("tensor-lstm", {})):
        rule = narrow(name, **static)
        ends = []
        for size in (1.0, 100.0):
            state = rule.init(PARAMS, 10)
            for _ in range(2):
                updates, state = rule.update(GRADS | {"b": size * GRADS["b"]}, state, PARAMS)
            ends.append(updates["w"])
        changes[name] = not np.array_equal(*ends)
    assert changes == {"velo": True, "celo": False, "tensor-lstm": True}


def test_what_tensors_hear_of_one_another_does_not_depend_on_their_order():
    network = MixingRecurrence.create(jax.random.key(0), 4, 3)
    x = jnp.sin(jnp.arange(20.0)).reshape(5, 4).at[4].multiply(10)
    memory = network.lstm.start(jnp.zeros((5, 1)))
    order = np.asarray([3, 0, 4, 1, 2])
    whole, turned = (network.step(rows, memory).hidden for rows in (x, x[order]))
    np.testing.assert_allclose(whole[order], turned, rtol=1e-6)
    without_the_loudest = network.step(x[:4], network.lstm.start(jnp.zeros((4, 1)))).hidden
    assert not np.allclose(whole[:4], without_the_loudest)

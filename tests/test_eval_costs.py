"""What a step costs: counted, not guessed."""

import jax
import pytest

import lopt
from eval import measure_costs
from eval.training.costs import NETWORK_SIZE
from lopt import OptaxRule


@pytest.fixture(scope="module")
def costs():
    rules = {
        "adam": OptaxRule.create(jax.random.key(0), learning_rate=1e-3),
        "adam again": OptaxRule.create(jax.random.key(0), learning_rate=1e-2),
        "sgd": lopt.create("learnable-sgd", jax.random.key(0)),
        "star": lopt.create("star", jax.random.key(0)),
    }
    return measure_costs(rules, "adam", rounds=3)


def test_the_network_has_the_stated_size():
    assert NETWORK_SIZE == 2 * (256 * 256 + 256) == 131_584


def test_adam_keeps_two_numbers_per_parameter_and_gradient_descent_none(costs):
    assert costs["adam"].state_bytes == pytest.approx(8, abs=1e-3)
    assert costs["sgd"].state_bytes < 1e-3
    assert costs["star"].state_bytes > 8


def test_the_reference_takes_its_own_time(costs):
    assert costs["adam"].step_time == 1
    assert costs["adam again"].flops == costs["adam"].flops
    assert costs["sgd"].flops < costs["adam"].flops < costs["star"].flops

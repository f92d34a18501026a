"""The hypergradient of a learning rate is minus the product of successive gradients, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import tasks
from meta_train import (
    BPTT,
    ConstantHorizon,
    Dynamics,
    HypergradientDescent,
    InnerTraining,
    SumLoss,
    TruncatedBPTT,
    sample_estimates,
)

STEPS, WINDOW = 6, 2
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss(), "phase": "lockstep"}
KEYS = jax.random.split(jax.random.key(0), 1)
CURVATURE = jnp.asarray([1.0, 0.3])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


class Descent(Dynamics):
    """Gradient descent with momentum on a curved valley; theta is the rate."""

    momentum: float = 0.0

    @staticmethod
    def loss(x):
        return jnp.sum(jnp.asarray([0.5, 0.15]) * x**2) + jnp.prod(jnp.sin(x))

    def init(self, theta, horizon, key):
        return jnp.asarray([1.0, -2.0]), jnp.zeros(2)

    def step(self, theta, state, key):
        x, speed = state
        speed = self.momentum * speed + jax.grad(self.loss)(x)
        x = x - theta * speed
        return (x, speed), self.loss(x)


def path(rate, momentum=0.0):
    """The gradients at each point, and the directions of the steps, in a plain loop."""
    x, speed, gradients, directions = jnp.asarray([1.0, -2.0]), jnp.zeros(2), [], []
    for _ in range(STEPS + 1):
        gradients.append(np.asarray(jax.grad(Descent.loss)(x)))
        speed = momentum * speed + gradients[-1]
        directions.append(np.asarray(speed))
        x = x - rate * speed
    return np.stack(gradients), np.stack(directions)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_it_is_minus_the_gradient_times_the_direction_of_the_step(momentum):
    """For plain gradient descent the direction is the gradient before."""
    gradients, directions = path(0.3, momentum)
    products = -np.sum(gradients[1:] * directions[:-1], axis=1)
    found, _ = sample_estimates(HypergradientDescent(**SHARED), Descent(momentum), jnp.asarray(0.3), KEYS, 3)
    np.testing.assert_allclose(found[0], products.reshape(3, WINDOW).sum(1), rtol=1e-10)


def test_a_window_of_one_step_is_truncated_backpropagation_and_longer_ones_are_not():
    one = SHARED | {"window": 1}
    system, rate = Descent(), jnp.asarray(0.3)
    found, short = (
        sample_estimates(kind(**one), system, rate, KEYS, STEPS)[0]
        for kind in (HypergradientDescent, TruncatedBPTT)
    )
    np.testing.assert_allclose(found, short, rtol=1e-12)
    summed, _ = sample_estimates(HypergradientDescent(**SHARED), system, rate, KEYS, 3)
    np.testing.assert_allclose(summed[0], found[0].reshape(3, 2).sum(1), rtol=1e-10)
    whole, _ = sample_estimates(BPTT(**SHARED), system, rate, KEYS, 1)
    assert abs(summed.sum() - whole.sum()) > 0.1 * abs(whole.sum())


def test_descent_on_it_is_the_published_rule():
    """A rate that moves at every step: rate' = rate + beta gradient . gradient before."""
    beta, rate = 0.02, 0.1
    x, rates = jnp.asarray([1.0, -2.0]), []
    for _ in range(STEPS):
        before = jax.grad(Descent.loss)(x)
        x = x - rate * before
        rate = rate + beta * jax.grad(Descent.loss)(x) @ before
        rates.append(float(rate))
    estimator, outer = HypergradientDescent(**SHARED | {"window": 1}), optax.sgd(beta)
    theta = jnp.asarray(0.1)
    state, moved, found = estimator.init(Descent(), theta), outer.init(theta), []
    step = jax.jit(
        lambda theta, state: estimator.step(Descent(), theta, state, KEYS[0], jnp.zeros((), jnp.int32))
    )
    for _ in range(STEPS):
        state, estimate = step(theta, state)
        update, moved = outer.update(estimate.gradient, moved)
        theta = optax.apply_updates(theta, update)
        found.append(float(theta))
    np.testing.assert_allclose(found, rates, rtol=1e-10)
    assert found[-1] > 0.15


def test_a_loss_that_is_measured_before_the_update_is_refused():
    with jax.enable_x64(False):
        theta = lopt.LearnableAdam.create(jax.random.key(0))
        with pytest.raises(ValueError, match="does not depend on theta through that step.*or take tbptt"):
            HypergradientDescent(**SHARED).init(InnerTraining(tasks.Quadratic(dimension=2)), theta)

"""A mixture's programs, on a machine with as few threads as devices, where XLA's CPU client can lock up."""

import os
import subprocess
import sys

PROGRAM = """
import jax, jax.numpy as jnp, optax

jax.config.update("jax_num_cpu_devices", 2)

from meta_train import PES, ConstantHorizon, Devices, Dynamics, Member, Mixture, SumLoss
from meta_train import init_run, make_meta_step


class Slow(Dynamics):
    size: float = 1.0

    def init(self, theta, horizon, key):
        return jax.random.normal(key, (200, 200)) / 200

    def step(self, theta, state, key):
        state = state @ state + theta
        return state / (1 + jnp.sum(state**2)), self.size * jnp.sum(state**2)

    @property
    def ceiling(self):
        return 3e38


estimator, outer = PES(ConstantHorizon(4), window=2, objective=SumLoss(), sigma=0.1), optax.sgd(0.01)
dynamics = {name: Slow(jnp.float32(i + 1)) for i, name in enumerate("abc")}
mixture = Mixture(tuple(Member(name, 2) for name in dynamics), Devices())
state, particles = init_run(dynamics, estimator, outer, mixture, jnp.asarray(0.1), jax.random.key(0))
step = make_meta_step(estimator, outer, mixture)
state, particles, metrics = step(state, particles, (dynamics, jnp.asarray(100, jnp.int32)))
print(int(state.meta_step), jax.device_count())
"""


def test_a_call_of_many_meta_steps_on_two_devices_and_two_threads_ends():
    """With 32 programs in flight a launch waits for a place, and takes the thread of the other device."""
    environment = os.environ | {"NPROC": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["100", "2"], done.stderr[-2000:]

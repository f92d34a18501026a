"""Small dynamics with known gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from meta_train import Dynamics


class ScalarLinear(Dynamics):
    """s' = a s + theta b_t + c_t from 0, with loss (s' - 1)^2 / 2 + offset: quadratic in theta."""

    b: jax.Array
    c: jax.Array
    offset: float = 0.0
    a: float = struct.field(pytree_node=False, default=0.9)

    @classmethod
    def draw(cls, steps):
        """The system that the published numbers are about; call it under x64."""
        draws = np.random.default_rng(0)
        return cls(jnp.asarray(draws.normal(size=steps)), jnp.asarray(draws.normal(size=steps)))

    def init(self, theta, horizon, key):
        return jnp.zeros_like(theta), jnp.zeros((), jnp.int32)

    def step(self, theta, state, key):
        s, t = state
        s = self.next(s, theta * self.b[t] + self.c[t])
        return (s, t + 1), self.loss(theta, s) + self.offset

    def next(self, s, drive):
        return self.a * s + drive

    def loss(self, theta, s):
        return (s - 1) ** 2 / 2


class ScalarTanh(ScalarLinear):
    """The same through a tanh, with a loss that is not quadratic either."""

    def next(self, s, drive):
        return jnp.tanh(self.a * s + drive)

    def loss(self, theta, s):
        return jnp.cos(2 * s) + s


class VectorLinear(Dynamics):
    """s' = A s + B_t theta, of two states and three meta-parameters in a tree, with a quadratic loss.

    The initial state depends on theta, and the loss on theta directly too.
    """

    a: jax.Array
    b: jax.Array
    start: jax.Array

    @classmethod
    def draw(cls, steps):
        draws = np.random.default_rng(1)
        a, b, start = (draws.normal(size=shape) for shape in ((2, 2), (steps, 2, 3), (2, 3)))
        return cls(jnp.asarray(0.4 * a), jnp.asarray(b), jnp.asarray(start))

    @staticmethod
    def theta():
        return {"pair": jnp.asarray([0.3, -0.5]), "scalar": jnp.asarray(0.8)}

    def init(self, theta, horizon, key):
        return self.start @ _flat(theta), jnp.zeros((), jnp.int32)

    def step(self, theta, state, key):
        s, t = state
        s = self.a @ s + self.b[t] @ _flat(theta)
        return (s, t + 1), jnp.sum((s - 1) ** 2) / 2 + jnp.sum(_flat(theta) ** 2) / 10


def _flat(theta):
    return jnp.append(theta["pair"], theta["scalar"])

"""Small dynamics with known gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from meta_train import Dynamics, Minimising, Recurrent


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


class Elman(Recurrent):
    """A small recurrent network, s' = tanh(W (s, x, 1)), over random inputs that its keys draw.

    Theta is {"weights", "readout"}; two sequences go side by side. The loss is quadratic in the readout.
    """

    units: int = struct.field(pytree_node=False, default=3)
    sequences: int = struct.field(pytree_node=False, default=2)
    gain: float = struct.field(pytree_node=False, default=0.9)
    fixed: bool = struct.field(pytree_node=False, default=True)

    def theta(self, key=0):
        keys = jax.random.split(jax.random.key(key), 2)
        weights = self.gain * jax.random.normal(keys[0], (self.units, self.units + 2)) / self.units**0.5
        return {"weights": weights, "readout": jax.random.normal(keys[1], (self.units,))}

    def init(self, theta, horizon, key):
        return jnp.zeros((self.sequences, self.units), theta["weights"].dtype), jnp.zeros((), jnp.int32)

    def matrix(self, theta):
        return theta["weights"]

    def features(self, state, key):
        s, t = state
        key = jax.random.fold_in(jax.random.key(0), t) if self.fixed else key
        inputs = jax.random.normal(key, (self.sequences, 1), s.dtype)
        return jnp.concatenate([s, inputs, jnp.ones_like(inputs)], axis=1)

    def recur(self, state, product, key):
        return jnp.tanh(product), state[1] + 1

    def readout(self, theta, before, after, key):
        return jnp.mean((after[0] @ theta["readout"] - 1) ** 2)


class Ridge(Minimising):
    """Gradient descent on |X w - y|^2 / 2 + exp(log_l2) |w|^2 / 2 + tilt . w, judged by |w - goal|^2 / 2.

    The judgement also depends on theta directly, by tilt . tilt / 2.
    """

    x: jax.Array
    y: jax.Array
    goal: jax.Array
    rate: float = struct.field(pytree_node=False, default=0.2)

    @classmethod
    def draw(cls):
        draws = np.random.default_rng(2)
        x = np.linalg.qr(draws.normal(size=(6, 3)))[0] * np.sqrt([1.0, 0.5, 0.2])
        return cls(jnp.asarray(x), jnp.asarray(draws.normal(size=6)), jnp.asarray(draws.normal(size=3)))

    @staticmethod
    def theta():
        return {"log_l2": jnp.asarray(-1.0), "tilt": jnp.asarray([0.1, -0.2, 0.3])}

    def init(self, theta, horizon, key):
        return jnp.zeros_like(self.goal)

    def step(self, theta, state, key):
        state = state - self.rate * jax.grad(self.inner_loss, argnums=2)(theta, state, state, key)
        return state, self.outer_loss(theta, state, state, key)

    def parameters(self, state):
        return state

    def inner_loss(self, theta, state, parameters, key):
        fit = jnp.sum((self.x @ parameters - self.y) ** 2)
        return (fit + jnp.exp(theta["log_l2"]) * jnp.sum(parameters**2)) / 2 + theta["tilt"] @ parameters

    def outer_loss(self, theta, state, parameters, key):
        return (jnp.sum((parameters - self.goal) ** 2) + jnp.sum(theta["tilt"] ** 2)) / 2

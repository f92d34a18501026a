"""Whatever task is registered can be meta-trained on: it is checked by being registered."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tasks

INSTANCES = 5
STEPS = 25
LARGEST_CONSTANT = 1024  # elements
TRACES = []


@functools.cache
def build(name):
    try:
        return tasks.build(name)
    except tasks.DatasetNotPreparedError:
        pytest.skip("its data is not on this machine")


def start(task, key):
    """Draw an instance and its parameters; return a key to train with, too."""
    sample_key, init_key, train_key = jax.random.split(key, 3)
    instance = task.sample(sample_key)
    return instance, task.init(instance, init_key), train_key


def probe(task, key):
    """Train one instance with Adam; return all that the tests look at."""
    TRACES.append((type(task), jax.tree.structure(task)))
    instance, params, train_key = start(task, key)
    keys = jax.random.split(train_key, (STEPS, 2))
    adam = optax.adam(1e-2)

    def step(carry, keys):
        params, state = carry
        batch = task.batch(instance, keys[0], "train")
        loss, gradient = jax.value_and_grad(task.loss, argnums=1)(instance, params, batch, keys[1])
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
            updates, state = adam.update(gradient, state)
        norms = jax.tree.map(jnp.linalg.norm, gradient)
        return (optax.apply_updates(params, updates), state), (batch, loss, norms)

    batches, losses, norms = jax.lax.scan(step, (params, adam.init(params)), keys)[1]
    return {
        "instance": instance,
        "params": params,
        "train": jax.tree.map(lambda leaf: leaf[0], batches),
        "test": task.batch(instance, keys[0, 0], "test"),
        "losses": losses,
        "norms": norms,
    }


# These programs run for a second and take several to compile: half as many without optimisation.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
PROBE = jax.jit(jax.vmap(probe, in_axes=(None, 0)), compiler_options=QUICKLY)


@functools.cache
def measure(name, seed=0):
    return jax.device_get(PROBE(build(name), jax.random.split(jax.random.key(seed), INSTANCES)))


CHOSEN = tasks.one_of_each_kind()  # the others differ in numbers alone
every_task = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in CHOSEN else [pytest.mark.slow]) for n in sorted(tasks.TASKS)],
)


@every_task
def test_parameters_are_float32_and_the_loss_a_scalar_of_it(name):
    task, key = build(name), jax.random.key(0)
    instance, params, _ = jax.eval_shape(start, task, key)
    assert jax.tree.leaves(params)
    assert all(leaf.dtype == jnp.float32 and not leaf.weak_type for leaf in jax.tree.leaves(params))
    shapes = set()
    for split in tasks.SPLITS:
        batch = jax.eval_shape(lambda i, k, split=split: task.batch(i, k, split), instance, key)
        loss = jax.eval_shape(task.loss, instance, params, batch, key)
        assert loss.shape == ()
        assert loss.dtype == jnp.float32
        shapes.add(str(batch))
    assert len(shapes) == 1  # so that one program serves every split


@every_task
def test_the_first_loss_is_finite_and_far_below_the_ceiling(name):
    losses = measure(name)["losses"][:, 0]
    assert np.isfinite(losses).all()
    assert losses.max() < 0.8 * build(name).ceiling


@every_task
def test_a_key_says_all(name):
    task, key = build(name), jax.random.key(0)
    again = jax.device_get(PROBE(task, jax.random.split(key, INSTANCES)))
    jax.tree.map(np.testing.assert_array_equal, again, measure(name))
    # Curves: the first losses of weights that start at zero are the same, and the last ones may all be 0.
    assert len(np.unique(measure(name)["losses"], axis=0)) == INSTANCES
    assert not np.array_equal(measure(name, 1)["losses"], again["losses"])


@every_task
def test_one_program_serves_all_keys(name):
    assert measure(name) is not measure(name, 1)
    assert TRACES.count((type(build(name)), jax.tree.structure(build(name)))) == 1


@every_task
def test_splits_have_data_of_their_own(name):
    train, test = (jax.tree.leaves(measure(name)[split]) for split in ("train", "test"))
    same = all(np.array_equal(a, b) for a, b in zip(train, test, strict=True))
    # What has no data may draw all splits alike.
    assert not (same and jax.tree.leaves(build(name)))


@every_task
def test_every_tensor_gets_a_gradient(name):
    norms = measure(name)["norms"]
    for path, norm in jax.tree_util.tree_leaves_with_path(norms):
        assert np.isfinite(norm).all(), path
        assert norm[:, :5].max() > 0, path  # in one member at least: a shallow one has idle layers


@every_task
def test_what_has_labels_has_an_accuracy_and_the_others_have_none(name):
    task, key = build(name), jax.random.key(0)
    instance, params, _ = jax.eval_shape(start, task, key)
    batch = jax.eval_shape(lambda i, k: task.batch(i, k, "test"), instance, key)
    accuracy = jax.eval_shape(task.accuracy, instance, params, batch, key)
    targets = jax.tree.leaves(batch.targets) if isinstance(batch, tasks.Batch) else []
    labelled = any(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in targets)
    assert (accuracy is not None) == (labelled and reads_targets(task, instance, params, batch, key))
    if accuracy is not None:
        assert (accuracy.shape, accuracy.dtype) == ((), jnp.float32)


@every_task
def test_all_is_in_32_bits_where_64_are_the_default(name):
    task, key = build(name), jax.random.key(0)
    with jax.enable_x64(True):
        made = jax.eval_shape(one_gradient, task, key)
    assert str(made) == str(jax.eval_shape(one_gradient, task, key))


def one_gradient(task, key):
    instance, params, key = start(task, key)
    batch = task.batch(instance, key, "train")
    return instance, batch, jax.value_and_grad(task.loss, argnums=1)(instance, params, batch, key)


def test_numbers_are_those_of_32_bits_where_64_are_the_default():
    task, key = build("digits-mlp"), jax.random.key(0)
    with jax.enable_x64(True):
        made = one_gradient(task, key)
    jax.tree.map(np.testing.assert_array_equal, made, one_gradient(task, key))


def reads_targets(task, instance, params, batch, key):
    """Tell whether a loss depends on its targets: an autoencoder's batches have labels, too."""

    def loss(instance, params, batch, key):
        return task.loss(instance, params, batch._replace(targets=object()), key)

    try:
        jax.eval_shape(loss, instance, params, batch, key)
    except Exception:  # whatever its operations make of an object that is no array
        return True
    return False


@every_task
def test_adam_lowers_the_loss(name):
    losses = measure(name)["losses"]
    assert losses[:, -5:].mean() < 0.9 * losses[:, :3].mean()


@every_task
def test_data_are_arguments_and_not_copied_for_each_instance(name):
    task = build(name)
    program = PROBE.lower(task, jax.random.split(jax.random.key(0), INSTANCES)).as_text()
    assert largest_constant(program) <= LARGEST_CONSTANT
    for leaf in jax.tree.leaves(task):
        assert leaf.size <= LARGEST_CONSTANT or not is_copied(leaf.shape, program)


def largest_constant(program):
    """Count the elements of the largest constant that is not one repeated number."""
    shapes = re.findall(r'dense(?:_resource)?<(?:"|\[|[a-z_])[^>]*> : tensor<([\dx]+)x\w+>', program)
    return max((int(np.prod([int(n) for n in shape.split("x")])) for shape in shapes), default=0)


def is_copied(shape, program):
    """Tell whether there is an array of as many data sets as there are instances, flattened or not."""
    flat = (*shape[:1], int(np.prod(shape[1:])))
    return any(f"tensor<{'x'.join(map(str, (INSTANCES, *s)))}x" in program for s in (shape, flat))


class Careless(tasks.Quadratic):
    """What a task should not do: close over its data, and copy it for each instance."""

    def batch(self, instance, key, split):
        baked = jnp.asarray(np.random.default_rng(0).normal(size=(2000, self.dimension)), jnp.float32)
        return baked[jax.random.randint(key, (), 0, 2000)]

    def init(self, instance, key):
        return {"x": jnp.zeros(self.dimension) + 0 * (instance.optimum[None] * jnp.ones((3000, 1))).sum(0)}


def test_a_baked_constant_and_a_copy_are_seen():
    program = PROBE.lower(Careless(), jax.random.split(jax.random.key(0), INSTANCES)).as_text()
    assert largest_constant(program) == 20_000
    assert is_copied((3000, 10), program)
    assert not is_copied((3001, 10), program)

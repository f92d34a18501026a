"""Tasks of one shape share a program and no data: a group's episodes are those of its members."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks

from .small_tasks import parts

ROWS, COLUMNS, PARTICLES = 3000, 4, 5
TRACES = []


def table_task(seed):
    """Return a task on a table whose first column is near `seed` in its train split's order."""
    random = np.random.RandomState(seed)
    inputs = random.normal(size=(ROWS, COLUMNS))
    return tasks.table_task(
        tasks.make_table(inputs, inputs @ random.normal(size=COLUMNS)), widths=(6, 6), depths=(1, 1)
    )


MEMBERS = [table_task(seed) for seed in range(3)]
GROUP = tasks.group(MEMBERS)


def look(task, key):
    TRACES.append(type(task))
    instance, params, batch, loss_key = parts(task, key)
    return instance, batch, jax.value_and_grad(task.loss, argnums=1)(instance, params, batch, loss_key)


LOOK = jax.jit(jax.vmap(look, in_axes=(None, 0)))


def test_an_episode_of_a_group_is_one_of_the_drawn_member():
    keys = jax.random.split(jax.random.key(0), 40)
    instances, batches, found = jax.device_get(LOOK(GROUP, keys))
    assert set(instances.task.tolist()) == {0, 1, 2}
    one = jax.jit(lambda task, instance, key: measured(task, instance, key))
    for n in range(6):
        at = lambda tree, n=n: jax.tree.map(lambda x: x[n], tree)  # noqa: E731
        instance = at(instances)
        batch, expected = one(MEMBERS[instance.task], instance.member, keys[n])
        jax.tree.map(np.testing.assert_array_equal, at(batches), jax.device_get(batch))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), at(found), expected)


def measured(task, instance, key):
    keys = jax.random.split(key, 4)
    params, batch = task.init(instance, keys[1]), task.batch(instance, keys[2], "train")
    return batch, jax.value_and_grad(task.loss, argnums=1)(instance, params, batch, keys[3])


def test_groups_of_one_shape_share_a_program():
    keys = jax.random.split(jax.random.key(1), 40)
    LOOK(GROUP, keys)
    before = len(TRACES)
    LOOK(tasks.group([table_task(seed) for seed in (7, 8, 9)]), keys)
    assert len(TRACES) == before
    LOOK(tasks.group(MEMBERS[:2]), keys)
    assert len(TRACES) == before + 1


def test_image_data_sets_are_standardised_alike():
    def images(seed, brightness):
        random = np.random.RandomState(seed)
        pixels = random.randint(0, brightness, (200, 8, 8)).astype(np.uint8)
        return tasks.make_dataset(pixels, random.randint(0, 3, 200) % 3, name=str(seed))

    dark, light = images(0, 100), images(1, 250)
    group = tasks.group([tasks.ImageMLP(data, widths=(4, 4), batch_sizes=(64, 64)) for data in (dark, light)])
    instance = group.sample(jax.random.key(0))
    means = [
        float(group.batch(instance._replace(task=jnp.asarray(n)), jax.random.key(1), "train").inputs.mean())
        for n in range(2)
    ]
    spread = (dark.std + light.std) / 2
    np.testing.assert_allclose(means[1] - means[0], (light.mean - dark.mean) / spread, rtol=0.1)
    np.testing.assert_allclose(sum(means), 0, atol=0.1)


def test_no_particle_has_a_copy_of_the_data():
    """Which the plain way makes, of the whole table for each."""

    def plainly(group, key):
        which = jax.random.randint(key, (), 0, group.size)
        task = jax.tree.map(lambda leaf: leaf[which], group.stacked)
        return task.batch(task.sample(key), key, "train")

    keys = jax.random.split(jax.random.key(0), PARTICLES)
    train = ROWS * 7 // 10
    copies = f"tensor<{PARTICLES}x{train}x"
    assert copies in jax.jit(jax.vmap(plainly, (None, 0))).lower(GROUP, keys).as_text()
    text = LOOK.lower(GROUP, keys).as_text()
    assert copies not in text
    assert f"tensor<{3 * train}x{COLUMNS}xf32>" in text


class Sums(tasks.Task):
    """Reads its data in ways that are not row by row."""

    numbers: jax.Array

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return {"x": jnp.zeros(())}

    def batch(self, instance, key, split):
        halves = self.numbers.reshape(2, -1)
        return jnp.sum(self.numbers[:10]), halves.at[1, 0].get(), self.numbers[-1]

    def loss(self, instance, params, batch, key):
        return params["x"]

    @property
    def ceiling(self):
        return 1.0


def test_data_that_is_not_read_by_rows_is_right_too():
    group = tasks.group([Sums(jnp.arange(2000.0) + n) for n in (0.0, 5.0)])
    batch = group.batch(
        group.sample(jax.random.key(0))._replace(task=jnp.asarray(1)), jax.random.key(0), "train"
    )
    numbers = np.arange(2000, dtype=np.float32) + 5
    np.testing.assert_allclose(batch, [numbers[:10].sum(), numbers[1000], numbers[-1]], rtol=1e-5)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "one task or more"),
        ([MEMBERS[0], MEMBERS[1].replace(batch_size=7)], "task 1 of the group differs"),
        ([MEMBERS[0], tasks.Quadratic()], "task 1 of the group differs"),
        ([Sums(jnp.zeros(4)), Sums(jnp.zeros(5))], r"\.numbers of \(5,\), not \(4,\)"),
    ],
    ids=["none", "a field", "a class", "a shape"],
)
def test_what_is_of_another_shape_is_refused(members, message):
    with pytest.raises(tasks.UsageError, match=message):
        tasks.group(members)


def test_a_sampled_group_has_the_shapes_of_its_task_and_episodes_that_differ():
    """The first number whose task is a perceptron on images."""
    seed = next(seed for seed in range(40) if isinstance(tasks.sample(seed), tasks.ImageMLP))
    family, one = tasks.build(f"sampled-group-{seed}"), tasks.sample(seed)
    first = lambda task: jax.eval_shape(lambda key: parts(task, key)[1], jax.random.key(0))  # noqa: E731
    assert first(family) == first(one)
    assert isinstance(family, tasks.FiniteData)  # of data with label noise
    drawn = jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(0), 20))
    assert len(set(np.asarray(drawn.own.count).tolist())) > 10
    assert len(set(np.asarray(drawn.task.own).tolist())) == 20
    members = jax.device_get(drawn.task.task)
    assert len(set(members.initial_scale.tolist())) == 20
    assert members.initial_scale.max() > 1.5 * members.initial_scale.min()
    assert len(set(members.activation.tolist())) > 1
    assert len(set(members.width.tolist())) == 1
    fixed = jax.device_get(jax.jit(jax.vmap(one.sample))(jax.random.split(jax.random.key(0), 20)))
    assert len(set(fixed.initial_scale.tolist())) == 1

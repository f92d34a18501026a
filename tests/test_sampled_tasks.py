"""A number names a task: always the same, another than its neighbours, and one that can be trained on."""

import functools

import jax
import numpy as np
import pytest

import eval
import tasks
from tasks.sampler import FAMILIES, Draw

TRIED = range(6)


@functools.cache
def a_thousand():
    return [tasks.sample(seed) for seed in range(1000)]


def described(task):
    """What a task is, without its data."""
    return type(task), jax.tree.structure(task)


def test_a_thousand_numbers_are_a_thousand_tasks():
    all_of_them = [described(task) for task in a_thousand()]
    assert len(set(all_of_them)) > 990  # small tables and images have few settings
    assert described(tasks.sample(17)) == all_of_them[17] == described(tasks.build("sampled-17"))


def unwrapped(task):
    return unwrapped(task.task) if hasattr(task, "task") else task


def test_every_family_is_drawn_about_equally_often_and_two_in_five_are_changed():
    drawn = a_thousand()
    changed = [one for one in drawn if hasattr(one, "task")]
    assert abs(len(changed) - 400) < 4 * np.sqrt(1000 * 0.4 * 0.6)
    quadratics = sum(isinstance(unwrapped(one), tasks.Quadratic) for one in drawn)
    expected = 1000 / len(FAMILIES)
    assert abs(quadratics - expected) < 4 * np.sqrt(expected)


def test_draws_are_within_their_bounds_and_reach_both():
    draw = Draw(0)
    wholes = [draw.whole(3, 9) for _ in range(500)]
    assert min(wholes) == 3
    assert max(wholes) == 9
    numbers = [draw.number(0.1, 10) for _ in range(500)]
    assert 0.1 <= min(numbers) < 0.12
    assert 8 < max(numbers) <= 10
    assert abs(np.mean(np.log10(numbers))) < 4 * np.sqrt(4 / 12 / 500)


@pytest.mark.parametrize("seed", TRIED)
def test_a_sampled_task_has_a_finite_loss_and_a_cost(seed):
    task = tasks.sample(seed)

    def loss(key):
        keys = jax.random.split(key, 4)
        instance = task.sample(keys[0])
        return task.loss(
            instance, task.init(instance, keys[1]), task.batch(instance, keys[2], "train"), keys[3]
        )

    value = jax.jit(loss)(jax.random.key(seed))
    assert value.shape == ()
    assert np.isfinite(value)
    assert value < task.ceiling


@pytest.mark.parametrize("name", FAMILIES)
def test_tasks_and_groups_of_every_family_can_be_differentiated(name):
    def gradient(task, key):
        keys = jax.random.split(key, 4)
        instance = task.sample(keys[0])
        params, batch = task.init(instance, keys[1]), task.batch(instance, keys[2], "train")
        return jax.value_and_grad(task.loss, argnums=1)(instance, params, batch, keys[3])

    for group in (False, True):
        task = FAMILIES[name](Draw(7, group))
        value, _ = jax.eval_shape(gradient, task, jax.random.key(0))
        assert value.shape == ()


def test_a_cost_counts_the_products_of_a_network():
    rows, columns, outputs = 64, 32, 4
    task = tasks.LinearRegression(inputs=columns, outputs=outputs, batch_size=rows)
    forward_and_weights = 2 * 2 * rows * columns * outputs
    assert forward_and_weights < tasks.inner_step_flops(task)
    twice = tasks.LinearRegression(inputs=2 * columns, outputs=outputs, batch_size=rows)
    assert tasks.inner_step_flops(twice) > tasks.inner_step_flops(task) + forward_and_weights


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7"])
def test_what_is_no_number_of_a_task_is_refused(seed):
    with pytest.raises(tasks.UsageError, match="a whole number from 0"):
        tasks.sample(seed)


def test_names_are_found_by_pattern():
    assert tasks.names("*-regression") == [
        "linear-regression", "logistic-regression", "small-start-linear-regression",
        "small-start-logistic-regression", "small-start-softmax-regression", "softmax-regression",
        "zero-start-softmax-regression",
    ]  # fmt: skip
    assert tasks.names() == sorted(tasks.TASKS)
    with pytest.raises(tasks.UsageError, match="unknown task 'sampled-x'"):
        tasks.build("sampled-x")


def test_a_suite_of_sampled_tasks_is_named_by_how_many_and_from_where():
    suite = eval.suite("sampled:3:40")
    assert [(one.task, one.horizon) for one in suite.entries] == [(f"sampled-{n}", 500) for n in (40, 41, 42)]
    assert [one.task for one in eval.suite("sampled:2").entries] == ["sampled-0", "sampled-1"]


@pytest.mark.parametrize(
    "name", ["sampled:", "sampled:0", "sampled:x", "sampled:3:4294967294", "sampled:20000"]
)
def test_other_suites_of_that_kind_are_refused(name):
    with pytest.raises(eval.UsageError if hasattr(eval, "UsageError") else ValueError, match="sampled:COUNT"):
        eval.suite(name)

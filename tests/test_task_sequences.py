"""Algorithms label sequences as slow, plain programs do; series obey the equations they are named for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from meta_train import z_score
from tasks.sequences.algorithms import ALGORITHMS
from tasks.sequences.series import DELAY, SERIES, Random

KEYS = jax.random.split(jax.random.key(5), 4)
LENGTH = 12


def labelled(name):
    draws = jax.random.randint(KEYS[0], (500, LENGTH), 0, 4)
    return [np.asarray(array).tolist() for array in jax.jit(ALGORITHMS[name])(draws)]


@pytest.mark.parametrize(
    ("name", "answer"), [("copy", list), ("sort", sorted), ("reverse", lambda word: word[::-1])]
)
def test_a_word_is_answered_at_the_blanks(name, answer):
    half = LENGTH // 2
    words = set()
    for symbols, labels in zip(*labelled(name), strict=True):
        assert symbols[half:] == [0] * half
        assert labels == [-1] * half + answer(symbols[:half])
        words.add(tuple(symbols[:half]))
    assert len(words) > 400
    assert {symbol for word in words for symbol in word} == {1, 2, 3, 4}


def test_a_parity_counts_the_ones_so_far():
    for symbols, labels in zip(*labelled("parity"), strict=True):
        assert labels == [sum(symbol == 2 for symbol in symbols[: place + 1]) % 2 for place in range(LENGTH)]


def match(symbols):
    """Return the innermost open bracket after each symbol, and how deep the stack was."""
    stack, tops, depths = [], [], []
    for symbol in symbols:
        if symbol <= 2:
            stack.append(symbol)
        else:
            assert stack.pop() == symbol - 2
        tops.append(stack[-1] if stack else 0)
        depths.append(len(stack))
    assert not stack
    return tops, depths


def test_brackets_balance_and_labels_are_what_a_stack_says():
    deepest, words = set(), set()
    for symbols, labels in zip(*labelled("dyck"), strict=True):
        tops, depths = match(symbols)
        assert labels == tops
        deepest.add(max(depths))
        words.add(tuple(symbols))
    assert deepest == {1, 2, 3, 4, 5, 6}
    assert len(words) > 450


def test_a_masked_unit_and_an_unlabelled_place_play_no_part():
    task = tasks.AlgorithmicGRU(("copy",), units=(4, 8), length=4, batch_size=3)
    instance = task.sample(KEYS[0])._replace(units=jnp.asarray(4))
    params, batch = task.init(instance, KEYS[1]), task.batch(instance, KEYS[2], "train")
    loss = jax.jit(jax.value_and_grad(lambda params, batch: task.loss(instance, params, batch, KEYS[3])))
    value, gradient = loss(params, batch)
    spoiled = jax.tree.map(jnp.copy, params)
    spoiled["output"]["kernel"] = spoiled["output"]["kernel"].at[4:].set(7.0)
    spoiled["recurrence"]["kernel"] = spoiled["recurrence"]["kernel"].at[4:].set(7.0)
    idle = jnp.asarray([0, 0, 0, 0, 1, 1, 1, 1] * 3, bool)
    spoiled["inputs"]["bias"] = jnp.where(idle, 7.0, spoiled["inputs"]["bias"])
    np.testing.assert_array_equal(loss(spoiled, batch)[0], value)
    assert not gradient["output"]["kernel"][4:].any()
    logits = np.asarray(task._logits(instance, params, batch), np.float64)[2:].transpose(1, 0, 2)
    picked = np.take_along_axis(logits, np.asarray(batch.targets)[:, 2:, None], 2)[..., 0]
    np.testing.assert_allclose(value, np.mean(np.log(np.exp(logits).sum(2)) - picked), rtol=1e-5)


def test_mackey_and_glass_have_their_delay():
    x = SERIES["mackey-glass"](Random(1), 3, 500)
    late = x[:, : -DELAY - 1]
    np.testing.assert_allclose(
        x[:, DELAY + 1 :] - x[:, DELAY:-1], 0.2 * late / (1 + late**10) - 0.1 * x[:, DELAY:-1], atol=1e-12
    )
    assert (x.std(1) > 0.1).all()


def test_lorenz_stays_on_its_attractor_and_neighbours_part():
    x = SERIES["lorenz"](Random(1), 3, 1000)
    assert np.abs(x).max() < 20
    assert ((np.diff(np.sign(x)) != 0).sum(1) > 10).all()  # it changes wings
    assert np.abs(x[0] - x[1]).max() > 20


def test_two_values_forecast_a_linear_series_up_to_its_noise():
    for x in SERIES["autoregressive"](Random(1), 4, 2000):
        past = np.stack([x[1:-1], x[:-2]], axis=1)
        weights, squares, *_ = np.linalg.lstsq(past, x[2:], rcond=None)
        assert abs(squares[0] / 1998 - 1) < 4 * np.sqrt(2 / 1998)  # the noise has a variance of 1
        assert -1 < weights[1] < -0.5
        assert x.var() > 1.5


def test_three_waves_have_three_frequencies():
    for x in SERIES["sinusoids"](Random(2), 4, 2000):
        power = np.sort(np.abs(np.fft.rfft(x * np.hanning(2000))) ** 2)[::-1]
        assert power[:15].sum() > 0.9 * power[1:].sum()  # a window spreads each over a few


def test_splits_follow_one_another_in_time_and_show_the_past():
    series = jnp.arange(200.0)[None]
    task = tasks.SeriesMLP(series, tasks.Perceptron(5, 1), ahead=3, noise=0.0, batch_size=400)
    bounds = [(0, 140), (140, 160), (160, 180), (180, 200)]
    for split, (low, high) in zip(tasks.SPLITS, bounds, strict=True):
        batch = task.batch(task.sample(KEYS[0]), KEYS[1], split)
        first, last = batch.inputs[:, 0], batch.targets
        np.testing.assert_array_equal(batch.inputs, first[:, None] + jnp.arange(5.0)[None])
        np.testing.assert_array_equal(last, first + 7)
        assert (first.min(), last.max()) == (low, high - 1)
    with pytest.raises(tasks.UsageError, match="make them longer"):
        task.replace(series=series[:, :60]).batch(task.sample(KEYS[0]), KEYS[1], "test")


def test_noise_is_added_to_what_is_shown_and_asked():
    task = tasks.SeriesMLP(jnp.zeros((1, 200)), tasks.Perceptron(5, 1), noise=0.5, batch_size=500)
    batch = task.batch(task.sample(KEYS[0]), KEYS[1], "train")
    assert abs(z_score(np.square(batch.targets), 0.25)) < 4
    assert abs(z_score(np.square(batch.inputs[:, 0]), 0.25)) < 4
    assert abs(z_score(np.asarray(batch.inputs[:, 0] * batch.targets), 0.0)) < 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tasks.AlgorithmicGRU(("multiply",)), "are unknown; there are copy"),
        (lambda: tasks.AlgorithmicGRU(length=7), "give an even number"),
        (lambda: tasks.AlgorithmicGRU(units=(8, 4)), "is not a range"),
    ],
)
def test_an_impossible_algorithm_is_refused(make, words):
    with pytest.raises(tasks.UsageError, match=words):
        make()

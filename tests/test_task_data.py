"""Texts, tables and generated data are what their tasks say, and their splits share nothing."""

import jax
import numpy as np
import pytest

import tasks
from tasks.data.text import ALPHABET, MODULES, encode


def test_an_alphabet_has_64_symbols_and_text_is_simplified():
    assert len(set(ALPHABET)) == len(ALPHABET) == 64
    numbers = encode("If  x:\n\n    return  é?\n")
    assert "".join(ALPHABET[n] for n in numbers) == "if x:\nreturn \x00\x00\n"


def test_splits_of_the_text_are_contiguous_parts_of_every_module():
    symbols = {split: np.asarray(part) for split, part in tasks.load_text().symbols.items()}
    total = sum(map(len, symbols.values()))
    assert total > 200_000
    for split, share in zip(tasks.SPLITS, (0.7, 0.1, 0.1, 0.1), strict=True):
        assert symbols[split].dtype == np.uint8
        assert abs(len(symbols[split]) / total - share) < 0.01
    assert np.mean(symbols["train"] == 0) < 0.005  # few symbols are not in the alphabet
    text = "".join(ALPHABET[n] for n in symbols["train"])
    assert all(word in text for word in ("import", "return", "self."))
    assert len(MODULES) == len(set(MODULES))


def test_a_stretch_of_text_is_in_it():
    text = tasks.load_text()
    batch = text.batch(jax.random.key(0), "test", 4, 12)
    stretches = np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1)
    assert stretches.shape == (4, 13)
    np.testing.assert_array_equal(batch.targets[:, :-1], batch.inputs[:, 1:])
    whole = np.asarray(text.symbols["test"]).tobytes()
    for stretch in stretches.astype(np.uint8):
        assert stretch.tobytes() in whole


@pytest.mark.parametrize(
    ("name", "rows", "columns", "classes"),
    [("diabetes", 442, 10, 0), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)],
)
def test_tables_are_standardised_and_split_once(name, rows, columns, classes):
    table = tasks.load_table(name)
    assert tasks.load_table(name) is table
    assert (table.columns, table.num_classes) == (columns, classes)
    inputs = {split: np.asarray(part) for split, part in table.inputs.items()}
    assert sum(map(len, inputs.values())) == rows
    # A number of the source may repeat, a whole row doesn't.
    assert len(np.unique(np.concatenate(list(inputs.values())), axis=0)) == rows
    np.testing.assert_allclose(inputs["train"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(inputs["train"].std(0), 1, rtol=1e-4)
    for split in tasks.SPLITS:
        targets = np.asarray(table.targets[split])
        assert len(targets) == len(inputs[split]) > 15
        if classes:
            assert set(targets) == set(range(classes))
    if not classes:
        np.testing.assert_allclose(np.asarray(table.targets["train"]).std(), 1, rtol=1e-4)


def test_curves_can_be_told_apart_and_templates_are_fixed_unless_drawn():
    fixed, drawn = tasks.ProceduralCurves(), tasks.ProceduralCurves(draws_templates=True)
    first, second = (fixed.sample(jax.random.key(n)).coefficients for n in (0, 1))
    np.testing.assert_array_equal(first, second)
    first, second = (drawn.sample(jax.random.key(n)).coefficients for n in (0, 1))
    assert not np.array_equal(first, second)
    instance = fixed.sample(jax.random.key(0))
    train, test = (fixed.batch(instance, jax.random.key(0), split) for split in ("train", "test"))
    assert not set(map(bytes, np.asarray(train.inputs))) & set(map(bytes, np.asarray(test.inputs)))
    assert 0.1 < np.std(train.inputs) < 3


def test_targets_of_a_teacher_have_a_variance_of_about_one():
    task = tasks.Teacher(batch_size=512)

    @jax.vmap
    def draw(key):
        return task.batch(task.sample(key), key, "train").targets

    assert 0.5 < np.mean(np.square(jax.jit(draw)(jax.random.split(jax.random.key(0), 64)))) < 1.5

"""Which of equal axes counts as larger, in our own rules and in those that repeat others'."""

import itertools

import numpy as np
import pytest

from lopt.accumulators import factored_axes
from lopt.axis_order import network, stable


def shapes(rank):
    return itertools.product(range(1, 4), repeat=rank)


@pytest.mark.parametrize("rank", range(8))
def test_the_network_orders_axes_as_numpy_does(rank):
    """numpy is stable on other processors, so that it is one or the other as a whole."""
    numpys = [np.argsort(np.asarray(shape, int)).tolist() for shape in shapes(rank)]
    assert numpys in ([order(shape) for shape in shapes(rank)] for order in (network, stable))


def test_the_network_turns_some_equal_axes_around():
    assert factored_axes((3, 3, 1, 2)) == (1, 0)
    assert factored_axes((3, 3, 1, 2), network) == (0, 1)


@pytest.mark.parametrize("rank", range(7))
def test_both_sort(rank):
    for shape, order in itertools.product(shapes(rank), (network, stable)):
        axes = order(shape)
        assert sorted(axes) == list(range(rank))
        assert [shape[axis] for axis in axes] == sorted(shape)


@pytest.mark.parametrize("shape", [(2,), (4, 2), (2, 2), (3, 3, 3), (2, 5, 5), (1, 1, 4), (6, 1)], ids=str)
def test_below_four_axes_both_are_the_same(shape):
    assert network(shape) == stable(shape)


def test_many_axes_are_sorted_too():
    shape = (3, 1, 2) * 4
    assert [shape[axis] for axis in network(shape)] == sorted(shape)

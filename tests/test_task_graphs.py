"""Graphs have the edges of a block model, and a convolution averages over neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.graphs.graph_convolution import normalise_adjacency

KEYS = jax.random.split(jax.random.key(6), 4)


def test_a_normalised_graph_has_its_spectrum_between_minus_one_and_one():
    edges = np.triu(np.random.default_rng(0).random((20, 20)) < 0.2, 1)
    edges = (edges | edges.T).astype(np.float32)
    edges[3] = edges[:, 3] = 0  # a node without neighbours
    graph = np.asarray(normalise_adjacency(jnp.asarray(edges)))
    np.testing.assert_array_equal(graph, graph.T)
    values = np.linalg.eigvalsh(graph.astype(np.float64))
    assert values.min() >= -1
    np.testing.assert_allclose(values.max(), 1, rtol=1e-6)
    roots = np.sqrt(edges.sum(1) + 1)
    np.testing.assert_allclose(graph @ roots, roots, rtol=1e-5)
    np.testing.assert_array_equal(graph[3], np.eye(20)[3])


def test_edges_are_as_frequent_as_the_communities_say():
    task = tasks.GraphConvolution(nodes=200, classes=3, within=(0.3, 0.3), between=(0.1, 0.1))
    instance = task.sample(KEYS[0])
    edges = np.asarray(instance.propagation) > 0
    same = np.asarray(instance.labels[:, None] == instance.labels[None])
    pairs = np.triu(np.ones_like(same), 1)
    for chance, chosen in ((0.3, same & pairs), (0.1, ~same & pairs)):
        count = chosen.sum()
        assert count > 5000
        assert abs(edges[chosen].sum() - chance * count) < 4 * np.sqrt(count * chance * (1 - chance))
    assert edges.diagonal().all()
    np.testing.assert_array_equal(edges, edges.T)


def test_a_convolution_averages_over_neighbours():
    task = tasks.GraphConvolution(nodes=16, units=(3, 6), batch_size=7)
    instance = task.sample(KEYS[0])._replace(units=jnp.asarray(3))
    params = task.init(instance, KEYS[1])
    batch = task.batch(instance, KEYS[2], "train")
    neighbours = np.asarray(instance.propagation) > 0
    degrees = neighbours.sum(1)

    def convolve(rows, layer):
        mapped = rows @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        return np.stack(
            [
                sum(mapped[j] / np.sqrt(degrees[i] * degrees[j]) for j in np.flatnonzero(neighbours[i]))
                for i in range(16)
            ]
        )

    hidden = np.maximum(convolve(np.asarray(instance.features), params["hidden"]), 0)
    hidden[:, 3:] = 0
    expected = convolve(hidden, params["output"])[np.asarray(batch.inputs)]
    np.testing.assert_allclose(task.logits(instance, params, batch), expected, rtol=1e-4, atol=1e-5)
    assert not params["output"]["kernel"][3:].any()


def test_every_node_belongs_to_one_split_and_keeps_its_label():
    task = tasks.GraphConvolution(batch_size=2000)
    instance = task.sample(KEYS[0])
    seen = []
    for split in tasks.SPLITS:
        batch = task.batch(instance, KEYS[1], split)
        np.testing.assert_array_equal(batch.targets, instance.labels[batch.inputs])
        seen.append(set(np.asarray(batch.inputs).tolist()))
    assert [len(nodes) for nodes in seen] == [40, 8, 8, 8]
    assert set().union(*seen) == set(range(64))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tasks.GraphConvolution(within=(0.5, 2.0)), "give at most 1"),
        (lambda: tasks.GraphConvolution(nodes=7), "give at least 8"),
        (lambda: tasks.GraphConvolution(noises=(0.0, 1.0)), "is not a range"),
    ],
)
def test_an_impossible_graph_is_refused(make, words):
    with pytest.raises(tasks.UsageError, match=words):
        make()

"""MLPOptimizer, AdafactorMLP, Celo2Base and Celo2 do, update by update, what their authors' libraries do.

`tests/data/recorded/README.md` says how the trajectories were recorded.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import UsageError
from lopt.importing import adafactor_mlp, celo2, mlp

from .recorded_trajectories import assert_it_repeats, distances, read_record, replay

IMPORTS = {
    "mlp": mlp.from_theta,
    "mlp-edges": mlp.from_theta,
    "adafac-mlp": adafactor_mlp.from_theta,
    "adafac-mlp-edges": adafactor_mlp.from_theta,
    "celo2-base": celo2.base_from_theta,
    "celo2-base-edges": celo2.base_from_theta,
    "celo2": lambda theta: celo2.from_theta(theta, adam_names="/b$"),
    "celo2-edges": lambda theta: celo2.from_theta(theta, adam_names="bias|embed").replace(
        weight_decay=0.1, step_scale=0.003
    ),
}
FAMILIES = ("mlp", "adafac-mlp", "celo2-base", "celo2")
every_family = pytest.mark.parametrize("name", FAMILIES)


def theta_of(name):
    return read_record(name).theta


def paths(theta, above=()):
    for key, value in theta.items():
        if isinstance(value, dict):
            yield from paths(value, (*above, key))
        else:
            yield (*above, key)


def changed(theta, path, change):
    """The same theta, but for one array; `change` maps it to another, or to None for none."""
    first, *rest = path
    inner = changed(theta[first], rest, change) if rest else change(theta[first])
    return {key: value for key, value in (theta | {first: inner}).items() if value is not None}


@pytest.mark.parametrize("name", IMPORTS)
def test_updates_are_the_originals(name):
    record = read_record(name)
    assert_it_repeats(IMPORTS[name](record.theta), record)


def test_the_edges_are_such_that_the_order_of_equal_axes_matters():
    record = read_record("adafac-mlp-edges")
    rule = IMPORTS["adafac-mlp-edges"](record.theta).replace(original_axis_order=False)
    only = ("kernel",)
    record = record._replace(
        params={leaf: record.params[leaf] for leaf in only},
        grads={leaf: record.grads[leaf] for leaf in only},
        snapshots={n: {leaf: p[leaf] for leaf in only} for n, p in record.snapshots.items()},
    )
    assert distances(replay(rule, record), record)[20] > 1e-2


def layer(number, inputs, outputs):
    return [np.full(shape, number, np.float32) for shape in ((inputs, outputs), (outputs,))]


def test_sizes_are_told_from_shapes():
    decays = {"momentum_decays": np.zeros(3), "rms_decays": np.zeros(1), "adafactor_decays": np.zeros(3)}
    for first, take in ((19, mlp.from_theta), (39, adafactor_mlp.from_theta)):
        sizes = list(itertools.pairwise([first, 5, 5, 5, 2]))
        layers = [layer(n, *size) for n, size in enumerate(sizes)]
        if first == 19:
            theta = {f"mlp/~/linear_{n}": {"w": w, "b": b} for n, (w, b) in enumerate(layers)}
        else:
            theta = {
                "nn/~": {f"{x}{n}": both[i] for n, both in enumerate(layers) for i, x in enumerate("wb")}
            }
            theta |= {key: value.astype(np.float32) for key, value in decays.items()}
        rule = take(theta)
        assert (rule.hidden_size, rule.hidden_layers) == (5, 3)
        assert [one["kernel"].shape for one in rule.layers] == sizes
        assert [float(one["bias"][0]) for one in rule.layers] == [0, 1, 2, 3]
        assert {leaf.dtype for leaf in jax.tree.leaves(rule)} == {jnp.dtype("float32")}


def test_what_is_adams_by_name_and_by_layout():
    params = {"layer": {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}
    by_name = celo2.from_theta(theta_of("celo2"))
    by_layout = celo2.from_theta(theta_of("celo2"), adam_names=None)
    grads = jax.tree.map(jnp.ones_like, params)
    for rule in (by_name, by_layout, by_name.replace(adam_names="/w$")):
        updates, _ = rule.update(grads, rule.init(params), params)
        adam = -20 * 1e-3 * 0.1 / np.sqrt(0.05 + 1e-8)
        is_adams = jax.tree.map(lambda u: bool(np.allclose(u, adam, rtol=1e-5)), updates)  # noqa: B023
        others = rule.adam_names != "/w$"
        assert is_adams == {"layer": {"w": not others, "b": others}, "norm": {"scale": others}}


@every_family
def test_a_missing_array_is_named(name):
    theta = theta_of(name)
    for path in paths(theta):
        with pytest.raises(UsageError, match="this is no theta of ") as caught:
            IMPORTS[name](changed(theta, path, lambda _: None))
        assert "\n" not in str(caught.value)


@every_family
def test_a_superfluous_array_is_named(name):
    with pytest.raises(UsageError, match=r"this is no theta of \w+.*, which has no more/w$"):
        IMPORTS[name](theta_of(name) | {"more": {"w": np.zeros(3, np.float32)}})


@every_family
def test_arrays_that_do_not_fit_are_named(name):
    theta = theta_of(name)
    for path in paths(theta):
        with pytest.raises(UsageError, match=r"this is no theta of .*: \S+ is \(.*, and should be "):
            IMPORTS[name](changed(theta, path, lambda x: np.concatenate([x, x])))


@every_family
@pytest.mark.parametrize(
    "theta", [{}, None, {"nn": 3}, {"nn": np.arange(3)}, {"nn": np.full(1, np.nan, np.float32)}]
)
def test_what_is_no_theta_is_refused(name, theta):
    with pytest.raises(UsageError):
        IMPORTS[name](theta)

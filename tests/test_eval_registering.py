"""A user's own baselines and suites: what is registered is found, and what is wrong is refused."""

import dataclasses

import optax
import pytest

from eval import (
    BASELINES,
    SUITES,
    Baseline,
    Entry,
    Suite,
    choose,
    log_grid,
    register_baseline,
    register_suite,
    suite,
)
from lopt import UsageError

BASELINE = Baseline("tuned AdaBelief", optax.adabelief, log_grid(1e-4, 1))
SUITE = Suite("rings", "Concentric rings.", (Entry("rings", 200),))


@pytest.fixture(autouse=True)
def own_tables(monkeypatch):
    for table in (BASELINES, SUITES):
        for name in ("adabelief", "rings"):
            monkeypatch.setitem(table, name, None)  # so that it is taken away after the test
            del table[name]


def test_a_baseline_is_chosen_by_its_name():
    register_baseline("adabelief", BASELINE)
    assert list(choose(["adabelief"])) == ["adam", "adabelief"]
    with pytest.raises(UsageError, match="'adabelief' is registered already"):
        register_baseline("adabelief", BASELINE)


def test_a_suite_is_found_by_its_name():
    register_suite(SUITE)
    assert suite("rings") is SUITE
    with pytest.raises(UsageError, match="'rings' is registered already"):
        register_suite(SUITE)


@pytest.mark.parametrize(
    ("name", "baseline", "message"),
    [
        ("all", BASELINE, "'all' is registered already"),
        ("strong", BASELINE, "'strong' is registered already"),
        ("", BASELINE, "is not a name"),
        ("adabelief", optax.adabelief, "is not a Baseline"),
        ("adabelief", dataclasses.replace(BASELINE, rates=()), "ascending positive numbers"),
        ("adabelief", dataclasses.replace(BASELINE, rates=(1.0, 0.1)), "ascending positive numbers"),
        ("adabelief", dataclasses.replace(BASELINE, rates=(float("nan"),)), "ascending positive numbers"),
    ],
)
def test_what_is_no_baseline_is_refused(name, baseline, message):
    with pytest.raises(UsageError, match=message):
        register_baseline(name, baseline)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("rings", "is not a Suite"),
        (dataclasses.replace(SUITE, name=" "), "is not a name"),
        (dataclasses.replace(SUITE, entries=()), "needs entries"),
        (dataclasses.replace(SUITE, entries=("rings",)), "needs entries"),
        (dataclasses.replace(SUITE, entries=(Entry("rings", 0),)), "whole steps from 1"),
        (dataclasses.replace(SUITE, entries=(Entry("rings", 5, float("nan")),)), "whole steps from 1"),
    ],
)
def test_what_is_no_suite_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        register_suite(wrong)

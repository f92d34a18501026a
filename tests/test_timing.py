"""A run's rates."""

import pytest

from meta_train.host import timing


@pytest.fixture
def now(monkeypatch):
    class Now:
        seconds = 100.0

    monkeypatch.setattr(timing.time, "perf_counter", lambda: Now.seconds)
    return Now


def test_records_that_come_two_at_once_leave_the_rate_as_it_is(now):
    clock, rates = timing.Clock(inner_steps=30, steps=1000), []
    for meta_step in range(10, 210, 10):
        if meta_step % 20:
            with clock.waiting():
                now.seconds += 20
        rates.append(clock.read(meta_step).get("inner_steps_per_second"))
    assert rates[0] is None
    # Over five calls of 10 s each, one may come a call too late or too early.
    assert rates[6:] == pytest.approx([30.0] * len(rates[6:]), rel=0.26)


def test_what_is_put_aside_is_no_part_of_rates_or_the_hosts_share(now):
    clock = timing.Clock(inner_steps=30, steps=100)
    clock.read(10)
    with clock.waiting():
        now.seconds += 8
    with clock.aside("validation_seconds"):
        now.seconds += 50
    now.seconds += 2
    read = clock.read(20)
    assert read["inner_steps_per_second"] == pytest.approx(30)
    assert read["host_share"] == pytest.approx(0.2)
    assert read["validation_seconds"] == pytest.approx(50)
    assert read["eta_seconds"] == pytest.approx(80 * 6)

"""A signal is heard at once, whatever the main thread does, and the process ends in time."""

import os
import signal
import subprocess
import sys
import time

import pytest

from meta_train.host.stopping import StopOnSignal

# A main thread that Python's own handlers could not reach: it stays in C until a child has ended. Reading
# from a pipe would be interrupted; this goes on waiting, as a compilation does.
BUSY = """
import sys, threading, time
from meta_train.host.stopping import StopOnSignal
import ctypes
with StopOnSignal({grace}, 75, "too late") as stop:
    print("ready", flush=True)
    ctypes.CDLL(None).system(b"sleep {seconds}")
    print("asked" if stop() else "not asked", flush=True)
if {grace} == 1:
    ctypes.CDLL(None).system(b"sleep 2")
    print("still here", flush=True)
"""


def said(process):
    """Return what a process wrote to its standard error so far; its child may still hold the other end."""
    os.set_blocking(process.stderr.fileno(), False)
    text = process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    return text


def start(grace=30, seconds=2):
    program = BUSY.format(grace=grace, seconds=seconds)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    return process


def test_without_a_signal_nobody_asks():
    # Not `communicate`, which misses what was read along with the first line.
    with start(seconds=0) as process:
        assert (process.stdout.read(), process.stderr.read()) == ("not asked\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_and_the_work_in_hand_is_finished(number):
    process = start()
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output == "asked\n"
    assert errors == "stopping after the call in flight; a second signal stops at once\n"


def test_sighup_is_nothing_where_it_was_ignored_from_the_start():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start()
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=30) == ("not asked\n", "")


def test_a_second_signal_stops_at_once():
    process = start(seconds=30)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.8)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 128 + signal.SIGTERM  # long before the sleep is over
    assert "stopped at once" in said(process)


def test_a_signal_that_is_delivered_twice_is_one_request():
    process = start()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "asked\n")


def test_what_is_not_done_in_time_is_given_up():
    process = start(grace=0.5, seconds=30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 75
    assert said(process).endswith("too late\n")


def test_after_the_context_nobody_gives_up_and_signals_are_what_they_were():
    process = start(grace=1, seconds=0.5)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert output == "asked\nstill here\n"  # a second after the grace was over

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with StopOnSignal(1, 75, ""):
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before

"""Samples during which something else ran do not count."""

import time

import pytest

from benchmarks import timing


@pytest.fixture
def waiting(monkeypatch):
    """Threads that have waited as long as the list's next number says."""
    readings = []
    monkeypatch.setattr(timing, "waited", lambda: readings.pop(0) if readings else 0.0)
    return readings


def test_disturbed_samples_are_left_out(waiting):
    # Two readings for each sample: the first waits for a second, the second for none.
    waiting.extend([0.0, 1.0, 1.0, 1.0])
    durations = iter([0.0, 0.03, 0.001])
    seconds = timing.compare({"work": lambda: time.sleep(next(durations))}, repeats=1)
    assert seconds["work"] < 0.03
    assert not seconds["work"].disturbed


def test_only_disturbed_samples(monkeypatch):
    monkeypatch.setattr(timing, "sample", lambda function: (0.5, True))
    seconds = timing.compare({"work": lambda: None}, repeats=1, limit=0)
    assert seconds["work"] == 0.5 and seconds["work"].disturbed


def test_functions_take_turns(waiting):
    calls = []
    timing.compare({n: lambda n=n: calls.append(n) for n in "ab"}, repeats=3)
    assert calls == list("ab" * 4)


def test_processor_time_leaves_sleep_out():
    seconds = timing.processor_time({"sleep": lambda: time.sleep(0.05)}, repeats=2)
    assert 0 <= seconds["sleep"] < 0.04


def test_waited_only_grows():
    before = timing.waited()
    assert 0 <= before <= timing.waited()

"""The last minutes are remembered, and no more."""

from __future__ import annotations

from gateway.admin.console.history import History


def test_samples_are_given_in_the_order_of_their_times() -> None:
    history = History(samples=3)
    for at in (10.0, 15.0):
        history.add(at, {"requests": at})
    assert history.times == [10.0, 15.0]
    assert history.lines() == {"requests": [10.0, 15.0]}


def test_the_oldest_sample_goes_when_the_ring_is_full() -> None:
    history = History(samples=3)
    for at in range(1, 6):
        history.add(float(at), {"requests": float(at)})
    assert history.times == [3.0, 4.0, 5.0]
    assert history.lines() == {"requests": [3.0, 4.0, 5.0]}


def test_a_line_that_is_not_always_there_has_gaps() -> None:
    history = History(samples=4)
    history.add(1.0, {"a": 1.0})
    history.add(2.0, {"b": 2.0})
    history.add(3.0, {"a": 3.0})
    assert history.lines() == {"a": [1.0, None, 3.0], "b": [None, 2.0, None]}


def test_a_line_that_is_gone_for_the_whole_time_is_forgotten() -> None:
    history = History(samples=3)
    history.add(0.0, {"old": 1.0})
    for at in range(1, 8):
        history.add(float(at), {"new": 1.0})
    assert list(history.lines()) == ["new"]


def test_memory_is_bounded_however_many_lines_come() -> None:
    history = History(samples=3, max_lines=10)
    for at in range(100):
        history.add(float(at), {f"line {at} {number}": 1.0 for number in range(20)})
        assert len(history.lines()) <= 10
    assert history.dropped > 0

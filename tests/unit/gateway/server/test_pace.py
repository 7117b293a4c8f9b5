from __future__ import annotations

from gateway.server.pace import Pace


def watched() -> Pace:
    pace = Pace(1000, 10.0)
    pace.begin(0.0, 0, is_awaited=True)
    return pace


def test_a_client_may_pause_for_a_while() -> None:
    pace = watched()
    assert pace.is_kept(9.9, 0, is_awaited=True)
    assert not pace.is_kept(10.1, 0, is_awaited=True)


def test_a_client_at_the_pace_is_never_late() -> None:
    pace = watched()
    assert all(pace.is_kept(second, second * 1000, is_awaited=True) for second in range(1, 1000))


def test_a_client_below_the_pace_is_late_though_each_piece_is_in_time() -> None:
    pace = watched()
    kept = [pace.is_kept(second, second * 500, is_awaited=True) for second in range(1, 30)]
    assert kept.index(False) == 20


def test_many_bytes_do_not_earn_a_longer_pause() -> None:
    pace = watched()
    assert pace.is_kept(1.0, 1_000_000, is_awaited=True)
    assert not pace.is_kept(11.1, 1_000_000, is_awaited=True)


def test_only_the_time_of_the_client_counts() -> None:
    pace = watched()
    assert pace.is_kept(100.0, 0, is_awaited=False)
    assert pace.is_kept(200.0, 0, is_awaited=True)
    assert pace.is_kept(209.0, 0, is_awaited=True)


def test_another_pace_begins_with_its_whole_patience() -> None:
    pace = watched()
    assert pace.is_kept(9.0, 0, is_awaited=True)
    pace.require(2000, 4.0)
    assert pace.is_kept(12.9, 0, is_awaited=True)
    assert not pace.is_kept(13.1, 0, is_awaited=True)

"""The adaptive concurrency limit, one sample at a time."""

from __future__ import annotations

from gateway.resilience.concurrency import HEADROOM, MIN_SAMPLE, PROBE_EVERY_S, SAMPLE_S, ConcurrencyLimit


def delivered(limit: ConcurrencyLimit, count: int, *, at: float, took_s: float) -> None:
    for _ in range(count):
        limit.acquire()
    for _ in range(count):
        limit.release(at - took_s, at)


def test_requests_that_failed_are_neither_timed_nor_counted() -> None:
    limit = ConcurrencyLimit(min_limit=1, max_limit=60, grace_s=0.0, now=0.0)
    delivered(limit, 30, at=SAMPLE_S, took_s=0.01)
    for _ in range(30):
        limit.acquire()
    for _ in range(30):
        limit.release(0.0, SAMPLE_S, delivered=False)
    limit.update(SAMPLE_S)
    # 120 a second, 10 ms each, and as much headroom: 2.4 in flight.
    assert (limit.limit, limit.in_flight) == (3, 0)


def test_few_responses_do_not_change_the_limit() -> None:
    for count, adapted in ((MIN_SAMPLE - 1, False), (MIN_SAMPLE, True)):
        limit = ConcurrencyLimit(min_limit=1, max_limit=MIN_SAMPLE, grace_s=0.0, now=0.0)
        delivered(limit, count, at=SAMPLE_S, took_s=0.001)
        limit.update(SAMPLE_S)
        assert (limit.limit < MIN_SAMPLE) is adapted


def test_a_limit_that_was_never_busy_stays_at_its_maximum() -> None:
    limit = ConcurrencyLimit(min_limit=1, max_limit=60, grace_s=0.0, now=0.0)
    delivered(limit, 20, at=SAMPLE_S, took_s=0.01)
    limit.update(SAMPLE_S)
    assert limit.limit == 60


def test_a_quiet_time_is_no_part_of_the_sample_after_it() -> None:
    limit = ConcurrencyLimit(min_limit=1, max_limit=40, grace_s=0.0, now=0.0)
    delivered(limit, MIN_SAMPLE - 1, at=SAMPLE_S, took_s=0.125)
    limit.update(SAMPLE_S)
    delivered(limit, 30, at=2 * SAMPLE_S, took_s=0.125)
    limit.update(2 * SAMPLE_S)
    # Thirty in one sample, 125 ms each, and as much headroom.
    assert limit.limit == 30 / SAMPLE_S * 0.125 * HEADROOM


def test_a_probe_cuts_the_limit_except_for_the_most_critical() -> None:
    limit = ConcurrencyLimit(min_limit=40, max_limit=40, grace_s=0.0, now=0.0)
    delivered(limit, 40, at=SAMPLE_S, took_s=0.01)
    limit.update(SAMPLE_S)
    now = SAMPLE_S
    while now < SAMPLE_S + PROBE_EVERY_S:
        now += SAMPLE_S
        delivered(limit, 40, at=now, took_s=0.1)
        limit.update(now)
    for _ in range(20):
        limit.acquire()
    assert not limit.has_room(0.85)
    assert limit.has_room(1.0)

"""When a room slows down and recovers, and what it says about time."""

from __future__ import annotations

import pytest

from gateway.waitingroom.admission import (
    HALVE_EVERY_S,
    MIN_FACTOR,
    RECOVER_S,
    Pace,
    RoomStatus,
    Visit,
    bound_by,
    eta_s,
    retry_after_s,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def waits(ahead: int, *, per_s: float = 1.0, spare: int | None = None) -> Visit:
    return Visit("waiting", "p", ahead + 1, ahead, spare, per_s)


def test_a_calm_shop_lets_the_room_run_at_full_pace(clock: Clock) -> None:
    pace = Pace(clock=clock)

    assert pace.adjust(shed_share=0.0, queue_age_s=59.0, max_queue_age_s=60.0) == 1.0
    assert pace.why == ""


@pytest.mark.parametrize(
    ("shed_share", "queue_age_s", "why"),
    [(0.1, None, "checkout is being shed"), (0.0, 61.0, "orders wait too long")],
)
def test_overload_halves_the_rate(clock: Clock, shed_share: float, queue_age_s: float | None, why: str) -> None:
    pace = Pace(clock=clock)

    factor = pace.adjust(shed_share=shed_share, queue_age_s=queue_age_s, max_queue_age_s=60.0)

    assert (factor, pace.why) == (0.5, why)


def test_a_slower_pace_is_given_time_to_show_its_effect(clock: Clock) -> None:
    pace = Pace(clock=clock)
    factors = []
    for _ in range(11):
        factors.append(pace.adjust(shed_share=0.5, queue_age_s=None, max_queue_age_s=60.0))
        clock.now += 1

    assert factors == [0.5] * int(HALVE_EVERY_S) + [0.25] * int(HALVE_EVERY_S) + [0.125]


def test_some_clients_are_admitted_during_a_long_overload(clock: Clock) -> None:
    pace = Pace(clock=clock)
    for _ in range(1000):
        pace.adjust(shed_share=1.0, queue_age_s=1e6, max_queue_age_s=60.0)
        clock.now += 1

    assert pace.factor == MIN_FACTOR


def test_the_pace_climbs_back_slowly_and_evenly(clock: Clock) -> None:
    pace = Pace(clock=clock)
    pace.adjust(shed_share=1.0, queue_age_s=None, max_queue_age_s=60.0)
    factors = []
    for _ in range(4):
        clock.now += RECOVER_S / 6
        factors.append(pace.adjust(shed_share=0.0, queue_age_s=None, max_queue_age_s=60.0))

    assert factors == pytest.approx([0.5 + 1 / 6, 0.5 + 2 / 6, 1.0, 1.0])
    assert pace.why == ""


def test_while_it_climbs_it_says_so(clock: Clock) -> None:
    pace = Pace(clock=clock)
    pace.adjust(shed_share=1.0, queue_age_s=None, max_queue_age_s=60.0)
    clock.now += 1
    pace.adjust(shed_share=0.0, queue_age_s=None, max_queue_age_s=60.0)

    assert pace.why == "recovering"


def test_single_shed_checkouts_are_no_overload(clock: Clock) -> None:
    assert Pace(clock=clock).adjust(shed_share=0.02, queue_age_s=None, max_queue_age_s=60.0) == 1.0


def test_the_time_to_wait_is_that_of_those_ahead_and_oneself() -> None:
    assert eta_s(waits(0, per_s=10)) == 1
    assert eta_s(waits(99, per_s=10)) == 10
    assert eta_s(waits(0, per_s=0.1)) == 10


@pytest.mark.parametrize("per_s", [0.0, 1e-9])
def test_when_nothing_moves_nobody_knows_how_long(per_s: float) -> None:
    assert eta_s(waits(5, per_s=per_s)) is None


@pytest.mark.parametrize(
    ("eta", "reconnect_s", "least", "most"),
    [
        (0, 60.0, 1, 1),
        (10, 60.0, 8, 12),
        (1000, 60.0, 16, 20),
        (None, 60.0, 16, 20),
        (1000, 86_400.0, 48, 60),
        (1000, 1.0, 1, 1),
    ],
)
def test_shoppers_ask_again_near_their_turn_and_often_enough_to_keep_their_place(
    eta: int | None, reconnect_s: float, least: int, most: int
) -> None:
    told = [retry_after_s(eta, reconnect_s=reconnect_s, chance=chance / 100) for chance in range(100)]

    assert (min(told), max(told)) == (least, most)


def test_a_client_behind_the_stock_gets_sold_out() -> None:
    assert not waits(2, spare=3).is_sold_out
    assert waits(3, spare=3).is_sold_out
    assert not waits(10**6, spare=None).is_sold_out


@pytest.mark.parametrize(
    ("status", "bound"),
    [
        ((0, 5, 0, 1.0, None), "no queue"),
        ((9, 5, 0, 1.0, None), "the rate"),
        ((9, 10, 0, 1.0, None), "the active shoppers"),
        ((9, 5, 0, 0.5, None), "the active shoppers"),
        ((9, 5, 0, 1.0, 5), "the stock"),
        ((9, 5, 1, 1.0, 5), "the rate"),
    ],
)
def test_the_reason_why_the_next_client_waits_is_given(
    status: tuple[int, int, int, float, int | None], bound: str
) -> None:
    waiting, active, bought, factor, stock = status
    told = RoomStatus(waiting, active, bought, 100, 0.0, 1.0, factor, "", stock)

    assert bound_by(told, max_active=10) == bound


@pytest.mark.parametrize(
    ("ahead", "free", "leaving_per_s", "eta"),
    [
        (9, 10, None, 1),
        (10, 10, None, None),
        (29, 10, 0.5, 40),
        (29, 0, 0.5, 60),
        (29, 0, 1e-9, None),
    ],
)
def test_behind_the_cap_the_time_depends_on_those_who_leave(
    ahead: int, free: int, leaving_per_s: float | None, eta: int | None
) -> None:
    visit = Visit("waiting", "p", ahead + 1, ahead, None, 10.0, free=free, leaving_per_s=leaving_per_s)

    assert eta_s(visit) == eta

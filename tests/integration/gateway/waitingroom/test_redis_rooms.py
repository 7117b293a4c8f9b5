"""What a waiting room promises, held against the scripts on a real server, whose clock the test moves."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.crc import key_slot

from gateway.config.policies import Room
from gateway.waitingroom.admission import RoomStatus, Visit, eta_s
from gateway.waitingroom.redis_rooms import RedisRooms, room_keys
from store import Client, open_client
from tests.room_clock import RoomClock, use_clock

AWAY_S = 60.0
SESSION_S = 600.0
# The pass of an idle shopper, and with it the session in the store, lasts a quarter longer, and two seconds of grace.
SESSION_ENDS_S = SESSION_S * 1.25 + 2.0

_ids = itertools.count(1)


def table(**settings: Any) -> Room:
    return Room(
        **{
            "name": "drop",
            "routes": ("*",),
            "admissions_per_s": 1.0,
            "max_active": 1000,
            "reconnect_s": AWAY_S,
            **settings,
        }
    )


@pytest.fixture
async def clock(store: Client, monkeypatch: pytest.MonkeyPatch) -> RoomClock:
    use_clock(monkeypatch)
    clock = RoomClock(store)
    await clock.move(0)
    return clock


@pytest.fixture
def rooms(store: Client, clock: RoomClock) -> RedisRooms:
    return RedisRooms(store)


@pytest.fixture
async def gateways(store_url: str, clock: RoomClock) -> AsyncIterator[list[RedisRooms]]:
    """Three processes, each with a connection of its own."""
    async with AsyncExitStack() as stack:
        clients = [await open_client(store_url, deadline_s=10.0) for _ in range(3)]
        for client in clients:
            stack.push_async_callback(client.close)
        yield [RedisRooms(client) for client in clients]


def fresh() -> str:
    return f"place-{next(_ids)}"


async def arrive(rooms: RedisRooms, room: Room, count: int) -> list[Visit]:
    return [await rooms.visit(room, None, fresh()) for _ in range(count)]


async def ask(rooms: RedisRooms, room: Room, visit: Visit) -> Visit:
    return await rooms.visit(room, visit.place_id, fresh())


async def report(
    rooms: RedisRooms,
    room: Room,
    *,
    reporter: str = "one",
    factor: float = 1.0,
    why: str = "",
    stock: int | None = None,
) -> RoomStatus:
    return await rooms.report(room, reporter, factor, why, stock)


async def stay(rooms: RedisRooms, room: Room, clock: RoomClock, seconds: float, present: list[Visit]) -> list[Visit]:
    """Let time pass while these poll and a process reports; returns their last visits."""
    for _ in range(round(seconds)):
        await clock.move(1)
        await report(rooms, room)
        present = [await ask(rooms, room, visit) for visit in present]
    return present


# Order, rate and cap


async def test_a_client_of_an_empty_room_is_admitted_at_once(rooms: RedisRooms) -> None:
    (visit,) = await arrive(rooms, table(), 1)

    assert (visit.outcome, visit.number) == ("admitted", 1)


async def test_waiting_clients_get_the_number_ahead(rooms: RedisRooms) -> None:
    visits = await arrive(rooms, table(), 4)

    assert [visit.outcome for visit in visits] == ["admitted", "waiting", "waiting", "waiting"]
    assert [visit.ahead for visit in visits[1:]] == [0, 1, 2]
    assert [eta_s(visit) for visit in visits[1:]] == [1, 2, 3]


async def test_polling_preserves_the_place(rooms: RedisRooms) -> None:
    _, second, third = await arrive(rooms, table(), 3)

    again = [await ask(rooms, table(), third) for _ in range(3)]

    assert {(visit.place_id, visit.ahead) for visit in again} == {(third.place_id, 1)}
    assert (await ask(rooms, table(), second)).ahead == 0


async def test_a_later_arrival_does_not_overtake_the_first(rooms: RedisRooms, clock: RoomClock) -> None:
    _, second, third = await arrive(rooms, table(), 3)
    await clock.move(1)

    assert (await ask(rooms, table(), third)).outcome == "waiting"
    assert (await ask(rooms, table(), second)).outcome == "admitted"


async def test_concurrent_arrivals_at_three_gateways_are_admitted_in_the_order_of_arrival(
    gateways: list[RedisRooms], clock: RoomClock
) -> None:
    room = table(admissions_per_s=10.0)
    visits = await asyncio.gather(*(gateways[n % 3].visit(room, None, fresh()) for n in range(200)))
    assert sorted(visit.number for visit in visits) == list(range(1, 201))

    waiting = [visit for visit in visits if visit.outcome == "waiting"]
    assert sorted(visit.number for visit in visits if visit.outcome == "admitted") == list(range(1, 11))
    admitted = list(range(1, 11))
    while waiting:
        await clock.move(1)
        random.Random(len(waiting)).shuffle(waiting)
        told = await asyncio.gather(*(ask(gateways[n % 3], room, visit) for n, visit in enumerate(waiting)))
        now = {visit.place_id for visit in told if visit.outcome == "admitted"}
        admitted += sorted(visit.number for visit in waiting if visit.place_id in now)
        waiting = [visit for visit in waiting if visit.place_id not in now]
        assert len(now) == 10

    assert admitted == list(range(1, 201))


async def test_frequent_polls_admit_no_more_than_the_rate(gateways: list[RedisRooms], clock: RoomClock) -> None:
    room = table(admissions_per_s=4.0)
    await asyncio.gather(*(gateways[n % 3].visit(room, None, fresh()) for n in range(100)))

    for step in range(1, 21):
        await clock.move(0.25)
        statuses = await asyncio.gather(*(report(rooms, room) for rooms in gateways * 5))
        # The bucket's four of the start, and one each quarter of a second.
        assert statuses[-1].admitted == 4 + step


async def test_active_clients_never_exceed_the_cap(gateways: list[RedisRooms], clock: RoomClock) -> None:
    room = table(admissions_per_s=1000.0, max_active=7)
    visits = await asyncio.gather(*(gateways[n % 3].visit(room, None, fresh()) for n in range(50)))
    await clock.move(1)
    statuses = await asyncio.gather(*(report(rooms, room) for rooms in gateways * 5))

    assert sum(visit.outcome == "admitted" for visit in visits) == 7
    assert {(status.active, status.waiting) for status in statuses} == {(7, 43)}


async def test_unused_rate_is_saved_for_one_second_only(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=3.0)
    await clock.move(3600)

    visits = await arrive(rooms, room, 10)

    assert [visit.outcome for visit in visits].count("admitted") == 3


async def test_a_changed_rate_is_in_force_at_once(rooms: RedisRooms, clock: RoomClock) -> None:
    await arrive(rooms, table(), 50)
    await clock.move(1)

    status = await report(rooms, table(admissions_per_s=20.0))

    assert status.admitted == 1 + 20


async def test_a_server_clock_that_is_set_back_does_not_stop_the_room(rooms: RedisRooms, clock: RoomClock) -> None:
    await arrive(rooms, table(), 3)
    await clock.move(-3600)
    await report(rooms, table())
    await clock.move(1)

    assert (await report(rooms, table())).admitted == 2


async def test_a_room_that_holds_too_many_gives_no_place(store: Client, clock: RoomClock) -> None:
    rooms = RedisRooms(store, max_waiting=2)

    visits = await arrive(rooms, table(), 5)

    assert [visit.outcome for visit in visits] == ["admitted", "waiting", "waiting", "full", "full"]


async def test_reports_advance_a_long_queue_without_polls(rooms: RedisRooms, clock: RoomClock) -> None:
    await arrive(rooms, table(admissions_per_s=0.001), 500)
    await clock.move(10)

    assert (await report(rooms, table(admissions_per_s=400.0))).admitted == 1 + 400


# Those who leave


async def test_the_place_of_an_absent_client_expires(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=0.001)
    _, leaves, stays = await arrive(rooms, room, 3)

    (still,) = await stay(rooms, room, clock, AWAY_S + 1, [stays])

    assert (still.place_id, still.ahead) == (stays.place_id, 0)
    back = await ask(rooms, room, leaves)
    assert (back.outcome, back.ahead) == ("waiting", 1)
    assert back.place_id != leaves.place_id


async def test_absent_clients_are_never_admitted(rooms: RedisRooms, clock: RoomClock) -> None:
    visits = await arrive(rooms, table(admissions_per_s=0.001), 350)
    for _ in range(15):
        await clock.move(4)
        last = await ask(rooms, table(admissions_per_s=0.001), visits[-1])

    # At each of these calls more have left than one call clears away.
    while last.outcome == "waiting":
        last = await ask(rooms, table(admissions_per_s=1000.0), last)

    status = await report(rooms, table())
    assert (last.place_id, status.admitted) == (visits[-1].place_id, 2)


async def test_an_unused_admission_goes_to_the_next(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(max_active=1, session_s=20.0)
    _, leaves, stays = await arrive(rooms, room, 3)
    # The session of the first ends, and the turn is that of whoever left.
    (stays,) = await stay(rooms, room, clock, AWAY_S, [stays])
    assert (stays.outcome, stays.ahead) == ("waiting", 0)
    assert (await report(rooms, room)).admitted == 2

    (stays,) = await stay(rooms, room, clock, 30, [stays])

    assert stays.outcome == "admitted"
    assert (await ask(rooms, room, leaves)).place_id != leaves.place_id


async def test_an_idle_session_ends_and_one_that_is_touched_does_not(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=10.0)
    idle, busy = await arrive(rooms, room, 2)
    await clock.move(SESSION_S)
    await rooms.touch(room, busy.place_id)
    await clock.move(SESSION_ENDS_S - SESSION_S + 1)
    # The room was out of touch, so nobody counts as away at first.
    await report(rooms, room)
    await stay(rooms, room, clock, AWAY_S, [])

    status = await report(rooms, room)

    assert status.active == 1
    assert (await ask(rooms, room, busy)).place_id == busy.place_id
    assert (await ask(rooms, room, idle)).place_id != idle.place_id


async def test_while_nobody_could_ask_nobody_was_away(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=0.001)
    visits = await arrive(rooms, room, 20)
    await report(rooms, room)

    await clock.move(AWAY_S * 3)
    await report(rooms, room)
    await clock.move(AWAY_S / 3)
    again = [await ask(rooms, room, visit) for visit in visits]

    assert [visit.place_id for visit in again] == [visit.place_id for visit in visits]
    assert [visit.ahead for visit in again[1:]] == list(range(19))


async def test_a_room_that_was_silent_for_an_hour_is_empty(rooms: RedisRooms, clock: RoomClock) -> None:
    visits = await arrive(rooms, table(admissions_per_s=0.001), 5)
    await report(rooms, table(admissions_per_s=0.001))
    await clock.move(3600)

    assert (await report(rooms, table(admissions_per_s=0.001))).waiting == 0
    assert (await ask(rooms, table(), visits[1])).place_id != visits[1].place_id


async def test_a_client_absent_after_that_loses_its_place(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=0.001)
    _, _leaves, stays = await arrive(rooms, room, 3)
    await report(rooms, room)
    await clock.move(AWAY_S * 3)
    await report(rooms, room)

    (stays,) = await stay(rooms, room, clock, AWAY_S + 1, [stays])

    assert stays.ahead == 0


# The signals


async def test_the_lowest_factor_applies_until_its_reporter_raises_it(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table()
    await report(rooms, room, reporter="calm", factor=1.0)
    await report(rooms, room, reporter="troubled", factor=0.25, why="checkout is being shed")
    assert (await report(rooms, room, reporter="calm", factor=1.0)).factor == 0.25

    risen = await report(rooms, room, reporter="troubled", factor=0.5, why="recovering")

    assert (risen.factor, risen.why) == (0.5, "recovering")


async def test_a_factor_whose_reporter_is_gone_is_forgotten(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table()
    await report(rooms, room, reporter="troubled", factor=0.25, why="checkout is being shed")
    for _ in range(11):
        await clock.move(1)
        status = await report(rooms, room, reporter="calm")

    assert (status.factor, status.why) == (1.0, "")


async def test_a_factor_that_nobody_renews_is_in_force_no_more(rooms: RedisRooms, clock: RoomClock) -> None:
    await arrive(rooms, table(), 5)
    await report(rooms, table(), factor=0.01, why="checkout is being shed")
    for _ in range(4):
        await clock.move(3)
        await arrive(rooms, table(), 1)

    assert (await arrive(rooms, table(), 1))[0].per_s == 1.0


async def test_rate_and_cap_are_lowered_by_the_factor(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=8.0, max_active=12)
    await arrive(rooms, room, 50)
    admitted = []
    for _ in range(4):
        await clock.move(1)
        admitted.append((await report(rooms, room, factor=0.5, why="orders wait too long")).admitted)

    # Half the cap is six, and eight are in already.
    assert admitted == [8, 8, 8, 8]
    await clock.move(1)
    assert (await report(rooms, table(admissions_per_s=8.0, max_active=100), factor=0.5)).admitted == 8 + 4


async def test_the_tail_is_sold_out_when_the_stock_cannot_serve_clients_ahead(
    rooms: RedisRooms, clock: RoomClock
) -> None:
    room = table(admissions_per_s=2.0, skus=("SNEAKER",))
    await report(rooms, room, stock=5)

    visits = await arrive(rooms, room, 8)

    assert [visit.outcome for visit in visits] == ["admitted"] * 2 + ["waiting"] * 6
    assert [visit.is_sold_out for visit in visits] == [False] * 5 + [True] * 3


async def test_no_more_are_admitted_than_the_stock_can_serve(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=2.0, skus=("SNEAKER",))
    await report(rooms, room, stock=5)
    await arrive(rooms, room, 20)
    for _ in range(10):
        await clock.move(1)
        status = await report(rooms, room, stock=5)

    assert (status.active, status.waiting) == (5, 15)


async def test_a_client_that_has_ordered_reserves_no_stock(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=2.0, skus=("SNEAKER",))
    await report(rooms, room, stock=4)
    first, second, *waiting = await arrive(rooms, room, 6)
    assert [visit.is_sold_out for visit in waiting] == [False, False, True, True]

    # Two orders took two units: what the others can hope for is as it was.
    for buyer in (first, second):
        await rooms.bought(room, buyer.place_id)
    for _ in range(2):
        await clock.move(1)
        status = await report(rooms, room, stock=2)

    assert (status.active, status.bought) == (4, 2)
    told = [await ask(rooms, room, visit) for visit in waiting]
    assert [visit.outcome for visit in told] == ["admitted"] * 2 + ["waiting"] * 2
    assert [visit.is_sold_out for visit in told[2:]] == [True, True]


async def test_a_client_that_has_ordered_and_left_is_not_counted(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(skus=("SNEAKER",), session_s=10.0, max_active=1)
    await report(rooms, room, stock=3)
    buyer, *waiting = await arrive(rooms, room, 4)
    await rooms.bought(room, buyer.place_id)
    for _ in range(15):
        await clock.move(1)
        status = await report(rooms, room, stock=2)

    # The buyer's session has ended, and the next is in.
    assert (status.active, status.bought) == (1, 0)
    assert [(await ask(rooms, room, visit)).is_sold_out for visit in waiting] == [False, False, True]


async def test_an_order_of_a_client_that_is_not_admitted_changes_nothing(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=0.001, skus=("SNEAKER",))
    await report(rooms, room, stock=2)

    await rooms.bought(room, "a-stranger")

    assert [visit.is_sold_out for visit in await arrive(rooms, room, 3)] == [False, False, True]


async def test_an_order_in_progress_does_not_cause_sold_out(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=0.001, skus=("SNEAKER",))
    await report(rooms, room, stock=2)
    buyer, last = await arrive(rooms, room, 2)
    await clock.move(1)
    # The order has taken its unit, but the room does not know yet whose it is.
    await report(rooms, room, stock=1)
    assert not (await ask(rooms, room, last)).is_sold_out

    await rooms.bought(room, buyer.place_id)
    await clock.move(1)
    await report(rooms, room, stock=1)

    assert not (await ask(rooms, room, last)).is_sold_out


async def test_returned_stock_goes_to_clients_that_were_sold_out(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=2.0, skus=("SNEAKER",))
    await report(rooms, room, stock=0)
    (visit,) = await arrive(rooms, room, 1)
    assert visit.is_sold_out

    await clock.move(1)
    await report(rooms, room, stock=1)

    assert (await ask(rooms, room, visit)).outcome == "admitted"


async def test_stock_that_cannot_be_read_stays_as_it_was_and_a_room_without_skus_has_none(
    rooms: RedisRooms, clock: RoomClock
) -> None:
    await report(rooms, table(skus=("SNEAKER",)), stock=5)
    await clock.move(1)
    assert (await report(rooms, table(skus=("SNEAKER",)), stock=None)).stock == 5
    await clock.move(1)

    assert (await report(rooms, table())).stock is None


async def test_the_estimate_goes_by_the_rate_as_long_as_the_cap_has_room(rooms: RedisRooms) -> None:
    room = table(admissions_per_s=10.0, max_active=100)
    visits = await arrive(rooms, room, 60)

    assert (visits[-1].ahead, visits[-1].free) == (49, 90)
    assert eta_s(visits[-1]) == 5


async def test_there_is_no_estimate_behind_the_cap_while_nobody_has_left(rooms: RedisRooms, clock: RoomClock) -> None:
    room = table(admissions_per_s=100.0, max_active=10, reconnect_s=3600.0)
    visits = await arrive(rooms, room, 200)
    assert eta_s(visits[-1]) is None

    (last,) = await stay(rooms, room, clock, 60, [visits[-1]])

    assert (last.free, eta_s(last)) == (0, None)


async def test_behind_the_cap_the_estimate_goes_by_those_who_leave(rooms: RedisRooms, clock: RoomClock) -> None:
    # Each session lasts for 10 s, so two of ten leave in 2 s.
    room = table(admissions_per_s=100.0, max_active=2, session_s=6.4)
    visits = await arrive(rooms, room, 80)
    waiting = [visit for visit in visits if visit.outcome == "waiting"]
    while len(waiting) > 64:
        await clock.move(2)
        await report(rooms, room)
        asked = [await ask(rooms, room, visit) for visit in waiting]
        waiting = [visit for visit in asked if visit.outcome == "waiting"]

    last = waiting[-1]
    eta = eta_s(last)
    assert eta is not None
    # Two at a time, every 10 s or little more: the session of one who is called begins when it asks.
    assert (last.ahead + 1) * 5 <= eta * 1.2
    assert eta <= (last.ahead + 1) * 5 * 1.6


async def test_the_measured_rate_is_dropped_when_the_queue_is_empty(rooms: RedisRooms, clock: RoomClock) -> None:
    full = table(admissions_per_s=100.0, max_active=10)
    (last,) = await stay(rooms, full, clock, 60, (await arrive(rooms, full, 11))[-1:])
    assert last.per_s < 10
    await clock.move(1)
    await report(rooms, table(admissions_per_s=100.0))

    await clock.move(1)
    *_, late = await arrive(rooms, table(admissions_per_s=100.0), 150)

    assert (late.outcome, late.per_s) == ("waiting", 100.0)


# What is kept


async def test_a_room_nobody_keeps_any_more_goes_by_itself(store: Client, rooms: RedisRooms) -> None:
    await arrive(rooms, table(admissions_per_s=1.0), 2)
    await report(rooms, table())

    left_s = [await store.execute("TTL", key) for key in room_keys("drop")]

    # -2: there is no such key.
    assert all(86_000 < each <= 86_400 or each == -2 for each in left_s)
    assert left_s[0] > 0


async def lives(store: Client) -> list[int]:
    """The rest of the life of each key of the room, in s; None of them may live for ever (-1)."""
    left_s = [int(await store.execute("TTL", key)) for key in room_keys("drop")]
    return [each for each in left_s if each != -2]


async def test_the_keys_of_a_room_expire_also_those_made_between_two_renewals(store: Client, rooms: RedisRooms) -> None:
    room = table(admissions_per_s=1.0, max_active=1)
    await report(rooms, room)
    assert len(await lives(store)) == 1
    inside, *_ = await arrive(rooms, room, 3)
    await rooms.bought(room, inside.place_id)
    made = await lives(store)
    assert len(made) == 5
    assert all(86_000 < each <= 86_400 for each in made)


async def test_the_keys_of_a_room_expire_also_those_made_again_or_without_a_report(
    store: Client, rooms: RedisRooms
) -> None:
    room = table()
    await rooms.touch(room, fresh())
    assert await lives(store) == [86_400]
    _, active = room_keys("drop")[0], room_keys("drop")[3]
    await store.execute("DEL", active)
    first, *_ = await arrive(rooms, room, 2)
    await store.execute("DEL", active)
    await rooms.touch(room, first.place_id)
    await rooms.bought(room, first.place_id)
    assert all(each > 86_000 for each in await lives(store))


async def test_a_room_that_is_only_visited_is_renewed(store: Client, rooms: RedisRooms, clock: RoomClock) -> None:
    await arrive(rooms, table(), 2)
    for key in room_keys("drop"):
        await store.execute("EXPIRE", key, 1000)
    await clock.move(1)
    await arrive(rooms, table(), 1)
    assert all(each > 86_000 for each in await lives(store))


async def test_visits_and_reports_say_the_time_of_the_store(rooms: RedisRooms, clock: RoomClock) -> None:
    (visit,) = await arrive(rooms, table(), 1)
    assert visit.at_s == clock.now_ms / 1000
    waiting = [await rooms.visit(table(max_active=1), None, fresh()) for _ in range(2)]
    full = await RedisRooms(rooms._store, max_waiting=0).visit(table(max_active=1), None, fresh())
    assert {each.at_s for each in (*waiting, full)} == {clock.now_ms / 1000}
    assert (await report(rooms, table())).at_s == clock.now_ms / 1000


def test_all_keys_of_a_room_are_in_one_slot() -> None:
    assert len({key_slot(key.encode()) for key in room_keys("drop")}) == 1


async def test_a_paused_room_admits_nobody_and_goes_on_in_the_same_order(rooms: RedisRooms, clock: RoomClock) -> None:
    # No token has been taken yet: the bucket is full.
    paused = table(admissions_per_s=0)
    first, second = await arrive(rooms, paused, 2)
    await report(rooms, paused)
    await clock.move(30)
    assert [(await ask(rooms, paused, each)).outcome for each in (first, second)] == ["waiting", "waiting"]
    assert eta_s(await ask(rooms, paused, second)) is None
    assert (await report(rooms, paused)).admitted == 0
    await report(rooms, table())
    assert [(await ask(rooms, table(), each)).outcome for each in (first, second)] == ["admitted", "waiting"]

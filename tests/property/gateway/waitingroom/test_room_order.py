"""Whatever shoppers and gateways do: one holder for each place, the order of arrival, and never more than rate and cap."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.policies import Room
from gateway.waitingroom import redis_rooms
from gateway.waitingroom.redis_rooms import RedisRooms
from store import open_client
from tests.room_clock import RoomClock, use_clock

ROOM = Room(name="drop", routes=("*",), admissions_per_s=2.0, max_active=3, session_s=8.0, reconnect_s=6.0)
GATEWAYS = 2

arrivals = st.tuples(st.just("arrive"), st.integers(1, 5))
questions = st.tuples(st.just("ask"), st.integers(0, 30))
crowds = st.tuples(st.just("all ask"), st.randoms(use_true_random=False))
passing = st.tuples(st.just("time"), st.sampled_from([0.1, 0.5, 1.0, 3.0, 7.0]))
keeping = st.tuples(st.just("keep"), st.sampled_from([1.0, 0.5, 0.01]))


class Crowd:
    """Everybody who has come, and what each was told last."""

    def __init__(self, gateways: list[RedisRooms], clock: RoomClock) -> None:
        self.gateways = gateways
        self.clock = clock
        self.numbers: dict[str, int] = {}
        self.holders: list[str] = []
        self.calls = 0
        self.began_at = clock.now_ms

    async def ask(self, held: str | None) -> None:
        self.calls += 1
        fresh = f"p{self.calls}"
        visit = await self.gateways[self.calls % GATEWAYS].visit(ROOM, held, fresh)
        if visit.place_id == fresh:
            # Never two with one number, and whoever lost a place is behind it.
            assert visit.number not in self.numbers.values()
            assert held is None or visit.number > self.numbers[held]
            self.numbers[fresh] = visit.number
            self.holders = [each for each in self.holders if each != held] + [fresh]
        if visit.outcome == "waiting":
            assert visit.number == self.numbers[visit.place_id]
        else:
            self.holders = [each for each in self.holders if each != visit.place_id]

    async def check(self) -> None:
        state, waiting, _, active, bought = redis_rooms.room_keys(ROOM.name)
        store = self.gateways[0]._store
        in_line = [place.decode() for place in await store.execute("ZRANGE", waiting, 0, -1)]
        assert [self.numbers[place] for place in in_line] == sorted(self.numbers[place] for place in in_line)
        inside = [place.decode() for place in await store.execute("ZRANGE", active, 0, -1)]
        assert len(inside) <= ROOM.max_active
        assert not set(inside) & set(in_line)
        assert await store.execute("SCARD", bought) == 0
        # Whoever was let in came before all who wait.
        assert max((self.numbers[place] for place in inside), default=0) < min(
            (self.numbers[place] for place in in_line), default=10**9
        )
        admitted = int(await store.execute("HGET", state, "admitted") or 0)
        elapsed_s = (self.clock.now_ms - self.began_at) / 1000
        assert admitted <= ROOM.admissions_per_s * (1 + elapsed_s) + 1e-6


@given(st.lists(arrivals | questions | crowds | passing | keeping, max_size=40))
@settings(max_examples=100, deadline=None)
def test_the_room_keeps_its_order(store_url: str, happenings: list[tuple[str, object]]) -> None:
    async def play() -> None:
        async with AsyncExitStack() as stack:
            clients = [await open_client(store_url, deadline_s=10.0) for _ in range(GATEWAYS)]
            for client in clients:
                stack.push_async_callback(client.close)
            await clients[0].execute("FLUSHDB")
            clock = RoomClock(clients[0])
            await clock.move(0)
            crowd = Crowd([RedisRooms(client) for client in clients], clock)
            for what, detail in happenings:
                await happen(crowd, what, detail)
                await crowd.check()

    with pytest.MonkeyPatch.context() as patch:
        use_clock(patch)
        asyncio.run(play())


async def happen(crowd: Crowd, what: str, detail: object) -> None:
    match what, detail:
        case "arrive", int(count):
            await asyncio.gather(*(crowd.ask(None) for _ in range(count)))
        case "ask", int(which):
            if crowd.holders:
                await crowd.ask(crowd.holders[which % len(crowd.holders)])
        case "time", float(seconds):
            await crowd.clock.move(seconds)
        case "keep", float(factor):
            await crowd.gateways[0].report(ROOM, "one", factor, "", None)
        case "all ask", chance:
            holders = list(crowd.holders)
            chance.shuffle(holders)  # type: ignore[attr-defined]
            for holder in holders:
                await crowd.ask(holder)

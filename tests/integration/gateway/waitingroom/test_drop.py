"""A drop of 1,000 sneakers with 5,000 shoppers, on a moved clock: an orderly queue, and an honest end for its tail."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from gateway.config.policies import Room
from gateway.waitingroom.admission import Visit, eta_s, retry_after_s
from gateway.waitingroom.redis_rooms import RedisRooms
from store import Client, open_client
from tests.room_clock import RoomClock, use_clock

SHOPPERS = 5_000
SNEAKERS = 1_000
RATE = 50.0
ROOM = Room(
    name="drop",
    routes=("*",),
    admissions_per_s=RATE,
    max_active=400,
    session_s=60.0,
    reconnect_s=60.0,
    skus=("SNEAKER",),
)
AT_ONCE = 250


class Shopper(msgspec.Struct):
    number: int
    visit: Visit | None = None
    asks_at: int = 0
    is_in: bool = False
    buys_at: int = 0
    shown_sold_out_at: int | None = None


class Drop:
    """The shop and its crowd; time goes by in seconds."""

    def __init__(self, gateways: list[RedisRooms], clock: RoomClock) -> None:
        self.gateways = gateways
        self.clock = clock
        self.chance = random.Random(7)
        self.second = 0
        self.stock = SNEAKERS
        self.buyers: list[Shopper] = []
        self.admitted: list[Shopper] = []
        self.shoppers = [Shopper(number) for number in range(SHOPPERS)]
        # Some come in and looks only.
        self.lookers = {number for number in range(SHOPPERS) if number % 50 == 0}

    async def one_second(self) -> int:
        """Let a second go by; returns how many were admitted in it."""
        await self.clock.move(1)
        self.second += 1
        statuses = [await rooms.report(ROOM, f"w{n}", 1.0, "", self.stock) for n, rooms in enumerate(self.gateways)]
        assert statuses[-1].active <= ROOM.max_active
        due = [each for each in self.shoppers if not each.is_in and each.asks_at <= self.second]
        await in_parts(due, self.ask)
        for each in self.admitted:
            if each.buys_at == self.second and self.stock:
                self.stock -= 1
                self.buyers.append(each)
                assert each.visit is not None
                await self.gateways[0].bought(ROOM, each.visit.place_id)
        return statuses[-1].admitted

    async def ask(self, shopper: Shopper) -> None:
        held = shopper.visit.place_id if shopper.visit is not None else None
        rooms = self.gateways[shopper.number % len(self.gateways)]
        shopper.visit = visit = await rooms.visit(ROOM, held, f"p{shopper.number}")
        assert visit.place_id == f"p{shopper.number}"
        if visit.outcome == "admitted":
            shopper.is_in = True
            self.admitted.append(shopper)
            if shopper.number not in self.lookers:
                shopper.buys_at = self.second + self.chance.randint(5, 30)
            return
        if visit.is_sold_out and shopper.shown_sold_out_at is None:
            shopper.shown_sold_out_at = self.second
        eta = None if visit.is_sold_out else eta_s(visit)
        shopper.asks_at = self.second + retry_after_s(eta, reconnect_s=ROOM.reconnect_s, chance=self.chance.random())


async def in_parts(shoppers: list[Shopper], ask: Any) -> None:
    for start in range(0, len(shoppers), AT_ONCE):
        await asyncio.gather(*(ask(shopper) for shopper in shoppers[start : start + AT_ONCE]))


async def test_a_drop_of_a_thousand_sneakers_forms_an_orderly_queue(
    store: Client, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_clock(monkeypatch)
    clock = RoomClock(store)
    await clock.move(0)
    # Thousands come in one tick, and what is late on a busy machine is no fault of the queue.
    first, second = [await open_client(store_url, deadline_s=10.0) for _ in range(2)]
    drop = Drop([RedisRooms(first), RedisRooms(second)], clock)

    admitted_by = [0]
    # The last pairs are for those who ask again, now and then, after they were told that it is sold out: 266 to 299 s.
    while drop.stock and drop.second < 900:
        admitted_by.append(await drop.one_second())
    await first.close()
    await second.close()

    # Every pair was sold, to those who came first, and nobody was let in for nothing.
    assert drop.stock == 0
    assert len(drop.admitted) <= SNEAKERS + len(drop.lookers)
    numbers = sorted(each.visit.number for each in drop.admitted if each.visit is not None)
    assert numbers[-1] - len(numbers) <= ROOM.max_active
    # Never more than the rate, and what one second keeps of it.
    for seconds in (1, 5, 20):
        grown = [later - earlier for earlier, later in zip(admitted_by, admitted_by[seconds:], strict=False)]
        assert max(grown) <= RATE * (seconds + 1)
    # Those far behind the stock knew at once.
    tail = [each for each in drop.shoppers if each.visit is not None and each.visit.number > 2 * SNEAKERS]
    assert len(tail) == SHOPPERS - 2 * SNEAKERS
    assert {each.shown_sold_out_at for each in tail} == {1}
    # Nobody who got a pair had been sent away before, but for those who took the place of one who only looked.
    assert sum(each.shown_sold_out_at is None for each in drop.buyers) >= SNEAKERS - len(drop.lookers)

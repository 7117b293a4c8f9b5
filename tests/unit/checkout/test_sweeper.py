from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from cart.model import OrderId, Sku
from checkout.ports.orders import OpenClaim
from checkout.sweeper import CLOSED_WITHIN_S, StockSweeper
from tests.virtual_time import in_virtual_time, loop_time


class FakeClaims:
    def __init__(self, *claims: OpenClaim) -> None:
        self.claims = list(claims)
        self.is_away = False

    async def open_claims(self) -> Sequence[OpenClaim]:
        if self.is_away:
            raise ConnectionError("the store is away")
        return self.claims

    async def delete_claims(self, claims: Sequence[OpenClaim]) -> None:
        for claim in claims:
            self.claims.remove(claim)


class FakeStock:
    def __init__(self) -> None:
        self.expired: list[OrderId] = []
        self.still_held: set[OrderId] = set()

    async def expire(self, order_id: OrderId, skus: Collection[Sku]) -> bool:
        self.expired.append(order_id)
        return order_id not in self.still_held


def claim(name: str, *, number: int = 1) -> OpenClaim:
    return OpenClaim(OrderId(name), (Sku("MUG"),), record=(name, number))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def sweeper_of(claims: FakeClaims, stock: Any, clock: Clock | None = None, *, age_s: float = 70.0) -> StockSweeper:
    return StockSweeper(claims, stock, age_s=age_s, clock=clock or Clock(), chance=lambda: 0.5)


async def test_the_stock_of_old_claims_is_released() -> None:
    claims, stock, clock = FakeClaims(claim("old"), claim("again")), FakeStock(), Clock()
    sweeper = sweeper_of(claims, stock, clock)
    assert await sweeper.sweep() == 0
    clock.now += 69.9
    # The cart is claimed again, and another one for the first time.
    claims.claims = [claim("old"), claim("again", number=2), claim("young")]
    assert await sweeper.sweep() == 0
    clock.now += 0.1
    assert await sweeper.sweep() == 1
    assert stock.expired == ["old"]
    assert [left.order_id for left in claims.claims] == ["again", "young"]


async def test_a_claim_with_a_valid_hold_stays_open() -> None:
    claims, stock = FakeClaims(claim("one"), claim("two")), FakeStock()
    stock.still_held = {OrderId("one")}
    assert await sweeper_of(claims, stock, age_s=0.0).sweep() == 1
    assert [left.order_id for left in claims.claims] == ["one"]


@in_virtual_time
async def test_an_abandoned_claim_is_closed_within_its_bound() -> None:
    claims = FakeClaims()
    longest_pauses = StockSweeper(claims, FakeStock(), clock=loop_time, chance=lambda: 1.0)  # type: ignore[arg-type]
    running = asyncio.create_task(longest_pauses.run())
    await asyncio.sleep(0.1)
    claims.claims = [claim("begun behind a sweep")]
    await asyncio.sleep(CLOSED_WITHIN_S)
    assert claims.claims == []
    running.cancel()


@in_virtual_time
async def test_a_failed_sweep_does_not_stop_the_sweeper(caplog: pytest.LogCaptureFixture) -> None:
    claims, stock = FakeClaims(claim("old")), FakeStock()
    claims.is_away = True
    running = asyncio.create_task(sweeper_of(claims, stock, age_s=0.0).run())
    await asyncio.sleep(5)
    claims.is_away = False
    await asyncio.sleep(10)
    running.cancel()
    assert stock.expired == ["old"]
    message = "sweeping abandoned stock failed; the next round tries again: ConnectionError: the store is away"
    assert [(record.message, record.exc_info) for record in caplog.records] == [(message, None)]

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from cart.model import OrderId, Sku
from checkout.ports.orders import AbandonedClaim
from checkout.sweeper import StockSweeper
from tests.virtual_time import in_virtual_time


class FakeClaims:
    def __init__(self, *claims: AbandonedClaim) -> None:
        self.claims = list(claims)
        self.is_away = False

    async def abandoned(self, *, before_ms: int) -> Sequence[AbandonedClaim]:
        if self.is_away:
            raise ConnectionError("the store is away")
        return [claim for claim in self.claims if claim.record < before_ms]

    async def delete_claims(self, claims: Sequence[AbandonedClaim]) -> None:
        for claim in claims:
            self.claims.remove(claim)


class FakeStock:
    def __init__(self) -> None:
        self.expired: list[OrderId] = []
        self.still_held: set[OrderId] = set()

    async def expire(self, order_id: OrderId, skus: Collection[Sku]) -> bool:
        self.expired.append(order_id)
        return order_id not in self.still_held


def claim(name: str, *, begun_ms: int) -> AbandonedClaim:
    return AbandonedClaim(OrderId(name), (Sku("MUG"),), record=begun_ms)


def sweeper_of(claims: FakeClaims, stock: Any) -> StockSweeper:
    return StockSweeper(claims, stock, age_ms=70_000, clock_ms=lambda: 100_000, chance=lambda: 0.5)


async def test_the_stock_of_old_claims_is_released() -> None:
    claims, stock = FakeClaims(claim("old", begun_ms=29_999), claim("young", begun_ms=30_000)), FakeStock()
    assert await sweeper_of(claims, stock).sweep() == 1
    assert stock.expired == ["old"]
    assert [left.order_id for left in claims.claims] == ["young"]


async def test_a_claim_with_a_valid_hold_stays_open() -> None:
    claims, stock = FakeClaims(claim("one", begun_ms=0), claim("two", begun_ms=0)), FakeStock()
    stock.still_held = {OrderId("one")}
    assert await sweeper_of(claims, stock).sweep() == 1
    assert [left.order_id for left in claims.claims] == ["one"]


@in_virtual_time
async def test_a_failed_sweep_does_not_stop_the_sweeper(caplog: pytest.LogCaptureFixture) -> None:
    claims, stock = FakeClaims(claim("old", begun_ms=0)), FakeStock()
    claims.is_away = True
    running = asyncio.create_task(sweeper_of(claims, stock).run())
    await asyncio.sleep(5)
    claims.is_away = False
    await asyncio.sleep(10)
    running.cancel()
    assert stock.expired == ["old"]
    message = "sweeping abandoned stock failed; the next sweep tries again: ConnectionError: the store is away"
    assert [(record.message, record.exc_info) for record in caplog.records] == [(message, None)]

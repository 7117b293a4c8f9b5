"""Warnings of low stock: one for each time that a sale leaves few units, and a count of the SKUs that have so few."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cart.model import Sku
from checkout.low_stock import MAX_REMEMBERED, REMEMBERED_S, LowStock, LowStockWatch
from checkout.memory.low_stock import MemoryLowStockList
from checkout.steps.confirm_stock import ConfirmStock
from checkout.steps.step import Services
from gateway.admin.low_stock_stats import MAX_NAMES, LowStockStats
from tests.unit.checkout.fake_services import IN_STOCK, MUG, FakeServices

CAP = Sku("CAP")
MARK = 5


class CountingList(MemoryLowStockList):
    """Counts its calls, and fails while a test says so."""

    def __init__(self, available: Mapping[Sku, int]) -> None:
        super().__init__(available)
        self.calls = 0
        self.is_away = False

    async def add(self, sku: Sku) -> bool:
        self.calls += 1
        if self.is_away:
            raise ConnectionError("the store is away")
        return await super().add(sku)


class Shop:
    def __init__(self) -> None:
        self.units: dict[Sku, int] = {}
        self.now = 0.0
        self.may_count = True
        self.listed = CountingList(self.units)
        self.low_stock = self.process()
        self.watch = LowStockWatch(self.listed, MARK, may_count=self.claim)

    def process(self) -> LowStock:
        return LowStock(self.listed, MARK, clock=lambda: self.now)

    async def claim(self) -> bool:
        return self.may_count

    async def sell(self, sku: Sku, units_left: int) -> None:
        self.units[sku] = units_left
        await self.low_stock.check({sku: units_left})


@pytest.fixture
def shop() -> Shop:
    return Shop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(",")[0] for record in caplog.records if record.name == "peakgate"]


async def test_sales_down_to_the_mark_are_warned_of_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    for units in (7, 6):
        await shop.sell(CAP, units)
    assert (warnings(caplog), shop.listed.calls) == ([], 0)
    for units in (5, 4, 0):
        await shop.sell(CAP, units)
    assert warnings(caplog) == ["low stock: CAP has 5 units for sale"]


async def test_the_processes_of_a_shop_warn_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    for units in (5, 4, 3):
        shop.low_stock = shop.process()
        await shop.sell(CAP, units)
    assert warnings(caplog) == ["low stock: CAP has 5 units for sale"]


async def test_there_is_another_warning_after_a_delivery(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    await shop.sell(CAP, 5)
    shop.units[CAP] = 20
    await shop.watch.count()
    shop.now = REMEMBERED_S
    await shop.sell(CAP, 2)
    assert warnings(caplog) == ["low stock: CAP has 5 units for sale", "low stock: CAP has 2 units for sale"]


async def test_the_crowd_of_a_drop_costs_one_call(shop: Shop) -> None:
    for _ in range(1000):
        await shop.sell(CAP, 0)
    assert shop.listed.calls == 1


async def test_many_low_skus_are_remembered_within_a_bound(shop: Shop) -> None:
    for number in range(MAX_REMEMBERED + 1):
        await shop.sell(Sku(f"S{number}"), 1)
    await shop.sell(Sku("S0"), 0)
    assert shop.listed.calls == MAX_REMEMBERED + 2


async def test_no_order_waits_for_a_warning(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.listed.is_away = True
    await shop.sell(CAP, 3)
    assert "listing a SKU of low stock failed" in caplog.text
    shop.listed.is_away = False
    await shop.sell(CAP, 2)
    assert warnings(caplog) == ["low stock: CAP has 2 units for sale"]


async def test_the_low_skus_are_counted_in_one_process(shop: Shop) -> None:
    stats = LowStockStats(shop.watch)
    assert (stats.snapshot(), list(stats.metrics())) == ({}, [])
    for number in range(30):
        await shop.sell(Sku(f"S{number}"), 1)
    await shop.watch.count()
    assert stats.snapshot() == {"skus": 30, "latest": {f"S{number}": 1 for number in range(29, 29 - MAX_NAMES, -1)}}
    (metric,) = stats.metrics()
    assert (metric.name, metric.samples[0].value) == ("peakgate_low_stock_skus", 30.0)
    shop.may_count = False
    await shop.watch.count()
    assert (stats.snapshot(), list(stats.metrics())) == ({}, [])


async def test_the_step_that_confirms_stock_warns(caplog: pytest.LogCaptureFixture) -> None:
    shop = FakeServices()
    listed = CountingList(shop.stock.available)
    low_stock = LowStock(listed, IN_STOCK - 2)
    step = ConfirmStock(
        Services(
            index=shop.index,
            stock=shop.stock,
            payments=shop.payments,
            shipping=shop.shipping,
            notifications=shop.notifications,
            low_stock=low_stock,
        )
    )
    for quantity in (1, 1, 1):
        await step.apply(await shop.accept(quantity=quantity))
    assert warnings(caplog) == [f"low stock: {MUG} has {IN_STOCK - 2} units for sale"]

"""Prices are looked at and changed in both adapters of the catalogue."""

from __future__ import annotations

from typing import Any

import pytest

from cart.catalog.memory import MemoryCatalog, MemorySearch
from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.ports import Catalog, ImportBusy
from cart.catalog.price_desk import BATCH, Amount, PriceDesk, PricesRefused, ProductPrices, UnknownProducts
from cart.catalog.price_periods import PeriodsInvalid
from cart.catalog.redis_catalog import EPOCH_KEY, RedisCatalog
from cart.model import Sku
from cart.scheduled_prices import FORGOTTEN_MS, ScheduledPrice

A, B, Z = Sku("A"), Sku("BANK CHARGES"), Sku("Z")
NOW, START, UNTIL = 1_000_000, 2_000_000, 3_000_000
SALE = ScheduledPrice(199, START, UNTIL)


class Wall:
    """A clock of the wall that the test moves, in Unix milliseconds."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Office:
    """A desk over a catalogue and a search."""

    def __init__(self, catalog: Catalog, wall: Wall) -> None:
        self.catalog = catalog
        self.search = MemorySearch()
        self.desk = PriceDesk(catalog, self.search, lease_wait_s=0.01, now_ms=wall)

    async def schedule(self, price: int | str, *skus: Sku, start: int = START, until: int = UNTIL, **how: Any) -> int:
        return await self.desk.schedule({sku: Amount(price) for sku in skus}, start=start, until=until, **how)

    async def scheduled(self, sku: Sku) -> tuple[ScheduledPrice, ...]:
        return (await self.desk.show([sku]))[0].scheduled

    async def epoch(self) -> int:
        if isinstance(self.catalog, MemoryCatalog):
            return self.catalog.epoch
        assert isinstance(self.catalog, RedisCatalog)
        return int(await self.catalog._store.execute("GET", EPOCH_KEY) or 0)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture(params=["memory", "redis"])
def catalog(request: pytest.FixtureRequest, wall: Wall) -> Catalog:
    if request.param == "memory":
        return MemoryCatalog(now_ms=wall)
    return RedisCatalog(request.getfixturevalue("store"), now_ms=wall)


@pytest.fixture
async def office(catalog: Catalog, wall: Wall) -> Office:
    office = Office(catalog, wall)
    rows = [CatalogRow(A, "RED HEART", 255, "GBP", 7), CatalogRow(B, "Fees", 1500, "EUR", 0)]
    await catalog.put(rows)
    await office.search.upsert(rows)
    return office


async def test_the_prices_of_a_product_are_those_of_now_the_ordinary_and_the_scheduled_ones(
    office: Office, wall: Wall
) -> None:
    assert await office.desk.show([A]) == [ProductPrices(A, "GBP", 255, 255, ())]
    assert await office.schedule("1.99", A) == 1
    assert await office.desk.show([A]) == [ProductPrices(A, "GBP", 255, 255, (SALE,))]
    wall.now = START
    (prices,) = await office.desk.show([A])
    assert (prices.price, prices.ordinary_price) == (199, 255)
    with pytest.raises(UnknownProducts, match="not in the catalogue: 'Z'"):
        await office.desk.show([A, Z])


async def test_the_ordinary_price_is_set_beside_scheduled_ones(office: Office) -> None:
    await office.schedule(199, A)
    assert await office.desk.set_ordinary(A, Amount("2.95")) == ProductPrices(A, "GBP", 295, 295, (SALE,))
    for amount, fault in (
        (Amount("2.955"), "'A' cannot have the price '2.955', which has more than the 2 decimals of GBP"),
        (Amount(-1), "it must be 0 to 100000000000 minor units"),
        (Amount(1, "EUR"), "'A' is sold in GBP, not in EUR"),
    ):
        with pytest.raises(PricesRefused, match=fault):
            await office.desk.set_ordinary(A, amount)
    with pytest.raises(UnknownProducts):
        await office.desk.set_ordinary(Z, Amount(1))


async def test_every_change_is_announced_to_workers_and_searches(office: Office) -> None:
    epoch = await office.epoch()
    await office.schedule(199, A, B)
    assert await office.epoch() == epoch + 1
    (change,) = await office.catalog.changes_after("", 10)
    assert (change.skus, change.by) == ([A, B], await office.search.name())
    assert (await office.search.page(limit=9, only=ProductFilter(None, "GBP", 1, 2))).skus == [A, B]
    await office.desk.clear([A])
    await office.desk.set_ordinary(A, Amount(100))
    assert await office.epoch() == epoch + 3
    assert (await office.search.page(limit=9, only=ProductFilter(None, "GBP", 100, 100))).skus == [A, B]


async def test_an_event_that_is_repeated_changes_nothing(office: Office) -> None:
    assert await office.schedule(199, A, B) == 2
    epoch = await office.epoch()
    assert await office.schedule(199, A, B) == 0
    assert await office.epoch() == epoch
    assert await office.scheduled(A) == (SALE,)


async def test_prices_are_scheduled_for_all_products_or_for_none(office: Office) -> None:
    await office.schedule(149, A, start=UNTIL - 1, until=UNTIL + 1)
    with pytest.raises(PricesRefused) as refused:
        await office.schedule(199, B, A, Z)
    assert [sku for sku, _ in refused.value.faults] == [A, Z]
    assert "overlap" in refused.value.faults[0][1]
    assert refused.value.faults[1] == (Z, "is not in the catalogue")
    assert await office.scheduled(B) == ()


async def test_prices_that_overlap_are_replaced_on_request_and_others_stay(office: Office) -> None:
    later = ScheduledPrice(249, UNTIL, UNTIL + 1)
    await office.schedule(later.price, A, start=later.start, until=later.until)
    await office.schedule(149, A, start=START - 1, until=START + 1)
    await office.schedule(199, A, replace=True)
    assert await office.scheduled(A) == (SALE, later)
    assert await office.desk.clear([A, B]) == 1
    assert await office.scheduled(A) == ()


async def test_a_time_that_has_ended_or_ends_before_it_begins_is_refused(office: Office) -> None:
    for start, until in ((START, START), (UNTIL, START), (NOW - 2, NOW)):
        with pytest.raises(PeriodsInvalid):
            await office.schedule(199, A, start=start, until=until)


async def test_prices_that_have_ended_are_forgotten_also_by_the_search(office: Office, wall: Wall) -> None:
    await office.schedule(199, A)
    wall.now = UNTIL + FORGOTTEN_MS - 1
    assert await office.scheduled(A) == (SALE,)
    wall.now += 1
    assert await office.scheduled(A) == ()
    await office.desk.set_ordinary(A, Amount(245))
    for only, skus in ((ProductFilter(None, "GBP", None, 199), []), (ProductFilter(None, "GBP", 245, 245), [A])):
        assert (await office.search.page(limit=9, only=only)).skus == skus
    await office.schedule(149, A, start=wall.now, until=wall.now + 1)
    assert await office.scheduled(A) == (ScheduledPrice(149, wall.now, wall.now + 1),)


async def test_very_many_products_are_changed_in_batches(office: Office) -> None:
    skus = [Sku(f"S{number}") for number in range(2 * BATCH + 1)]
    await office.catalog.put([CatalogRow(sku, "A THING", 255, "GBP") for sku in skus])
    assert await office.schedule(199, *skus) == len(skus)
    assert {each.scheduled for each in await office.desk.show(skus)} == {(SALE,)}


async def test_prices_do_not_change_while_an_import_runs(office: Office) -> None:
    async with office.catalog.lease(wait_s=1):
        with pytest.raises(ImportBusy):
            await office.schedule(199, A)

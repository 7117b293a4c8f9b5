import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from cart.catalog.model import CatalogRow
from cart.catalog.ports import PutCounts, StockUnknown
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.model import Sku
from store import Script, StoreError, StoreTimeout, StoreUnavailable
from tests.waiting import WITHIN_S

A, B, C = Sku("A"), Sku("B"), Sku("C")


class Gate:
    """Holds a call back, and tells the test that it has come."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()


class FakeStore:
    """A store of products and an epoch that counts the calls, and that the test can take away or hold back."""

    def __init__(self) -> None:
        self.prices = {A: 100, B: 200, C: 300}
        self.epoch: bytes | None = None
        self.fetched: list[Sku] = []
        self.failures: list[StoreError] = []
        self.gate: Gate | None = None
        self.polled = asyncio.Event()
        self.outcome = b"new"
        self.scheduled: dict[Sku, bytes] = {}

    async def execute(self, *command: Any) -> Any:
        self._fail()
        if command[0] == "GET":
            self.polled.set()
            return self.epoch
        if command[0] == "INCR":
            self.epoch = b"%d" % (int(self.epoch or 0) + 1)
            return int(self.epoch)
        sku = command[1][1:-2]
        self.fetched.append(sku)
        price = self.prices.get(sku)
        if self.gate is not None:
            self.gate.reached.set()
            await self.gate.opened.wait()
        product: list[bytes | None] = [] if price is None else [b"NAME", b"%d" % price, b"GBP"]
        members = product + [None] * (len(command) - 2 - len(product))
        members[command.index("scheduled_prices") - 2] = self.scheduled.get(sku)
        return members

    async def execute_blocking(self, *command: Any, timeout_s: float) -> Any:
        raise NotImplementedError

    async def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Any:
        self._fail()
        return self.outcome

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def is_stale(book: RedisPriceBook) -> bool:
    return book.is_stale


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


async def test_a_product_is_fetched_once_and_only_those_missing(store: FakeStore) -> None:
    book = RedisPriceBook(store)
    assert (await book.products([A]))[A].price == 100
    assert (await book.products([A, B]))[B].price == 200
    await book.products([B, A])
    assert store.fetched == [A, B]


async def test_a_raised_epoch_brings_the_new_price(store: FakeStore) -> None:
    book = RedisPriceBook(store)
    await book.refresh()
    await book.products([A])
    store.prices[A] = 150
    await book.refresh()
    assert (await book.products([A]))[A].price == 100, "nobody said that it changed"
    store.epoch = b"1"
    await book.refresh()
    assert (await book.products([A]))[A].price == 150


async def test_products_cached_before_the_first_epoch_are_dropped(store: FakeStore) -> None:
    book = RedisPriceBook(store)
    await book.products([A])
    store.prices[A], store.epoch = 150, b"7"
    await book.refresh()
    assert (await book.products([A]))[A].price == 150


async def test_a_price_fetched_before_the_epoch_rose_is_not_cached_after_it(store: FakeStore) -> None:
    book = RedisPriceBook(store)
    store.gate = Gate()
    early = asyncio.create_task(book.products([A]))
    await store.gate.reached.wait()
    store.prices[A], store.epoch = 150, b"1"
    await book.refresh()
    store.gate.opened.set()
    assert (await early)[A].price == 100
    assert (await book.products([A]))[A].price == 150


async def test_without_the_store_cached_products_stay_valid(store: FakeStore) -> None:
    clock = Clock()
    book = RedisPriceBook(store, max_age_s=30, clock=clock)
    await book.refresh()
    await book.products([A])
    clock.now = 299.9
    store.failures = [StoreUnavailable("away"), StoreTimeout("slow")]
    await book.refresh()
    await book.refresh()
    assert (await book.products([A]))[A].price == 100
    assert store.fetched == [A]


async def test_prices_are_stale_once_they_could_not_be_confirmed_for_two_seconds_and_until_they_are(
    store: FakeStore,
) -> None:
    clock = Clock()
    book = RedisPriceBook(store, clock=clock)
    await book.refresh()
    fresh = await book.products([A])
    store.failures = [StoreUnavailable("away")] * 3
    clock.now = 2.0
    await book.refresh()
    assert (is_stale(book), book.current is fresh) == (False, True)
    clock.now = 2.5
    await book.refresh()
    assert is_stale(book)
    stale = await book.products([A])
    assert stale is not fresh, "so that views at confirmed prices are rendered again"
    clock.now = 3.0
    await book.refresh()
    assert await book.products([A]) is stale

    await book.refresh()
    assert (is_stale(book), book.current is stale) == (False, False)
    assert (await book.products([A]))[A].price == 100
    assert store.fetched == [A]


async def test_prices_unconfirmed_for_too_long_are_not_shown(store: FakeStore) -> None:
    clock = Clock()
    book = RedisPriceBook(store, max_stale_s=300, clock=clock)
    await book.refresh()
    await book.products([A])
    clock.now = 300.0
    store.failures = [StoreUnavailable("away")] * 2
    await book.refresh()
    assert is_stale(book)
    with pytest.raises(StoreUnavailable):
        await book.products([A])
    await book.refresh()
    assert not is_stale(book)
    assert (await book.products([A]))[A].price == 100


async def test_a_stale_period_does_not_extend_the_age_of_cached_prices(store: FakeStore) -> None:
    clock = Clock()
    book = RedisPriceBook(store, max_age_s=30, clock=clock)
    await book.refresh()
    await book.products([A])
    clock.now, store.failures = 20.0, [StoreUnavailable("away")]
    await book.refresh()
    clock.now = 25.0
    await book.refresh()
    store.prices[A] = 150
    clock.now = 30.0
    await book.refresh()
    assert (await book.products([A]))[A].price == 150


async def test_without_the_store_the_stock_is_unknown_not_absent(store: FakeStore) -> None:
    catalog = RedisCatalog(store)
    for ask in (catalog.level(A), catalog.levels([A, B])):
        store.failures = [StoreTimeout("slow")]
        with pytest.raises(StockUnknown) as unknown:
            await ask
        assert isinstance(unknown.value.why, StoreTimeout)


async def test_without_the_store_an_unknown_product_is_an_error_not_an_absence(store: FakeStore) -> None:
    store.failures = [StoreUnavailable("away")]
    with pytest.raises(StoreUnavailable):
        await RedisPriceBook(store).products([A])


async def test_no_product_is_cached_longer_than_the_maximum_age(store: FakeStore) -> None:
    clock = Clock()
    book = RedisPriceBook(store, max_age_s=30, clock=clock)
    await book.products([A])
    store.prices[A] = 150
    clock.now = 29.9
    await book.refresh()
    assert (await book.products([A]))[A].price == 100
    clock.now = 30.0
    await book.refresh()
    assert (await book.products([A]))[A].price == 150


async def test_the_cache_is_bounded_and_every_call_returns_all_its_products(store: FakeStore) -> None:
    book = RedisPriceBook(store, max_products=2)
    first = await book.products([A, B])
    assert set(first) == {A, B}
    second = await book.products([B, C])
    assert set(second) == {B, C}
    assert set(first) == {A, B}, "whoever still looks up in the old mapping finds what was there"
    assert set(await book.products([A, B, C])) == {A, B, C}
    assert store.fetched == [A, B, C, A]


async def test_watching_follows_the_epoch_until_it_is_cancelled(store: FakeStore) -> None:
    book = RedisPriceBook(store, poll_s=0)
    store.failures = [StoreUnavailable("away")]
    watching = asyncio.create_task(book.watch())
    await book.products([B])
    store.prices[B], store.epoch = 250, b"1"
    async with asyncio.timeout(WITHIN_S):
        while (await book.products([B]))[B].price != 250:
            await store.polled.wait()
            store.polled.clear()
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_a_write_whose_reply_was_lost_is_repeated_and_counts_as_a_change(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.catalog.redis_catalog.FIRST_RETRY_S", 0.0)
    store.failures = [StoreTimeout("slow", may_have_run=True)]
    store.outcome = b"same"
    rows = [CatalogRow(A, "NAME", 100, "GBP", 1)]
    assert await RedisCatalog(store).put(rows) == PutCounts(new=0, changed=1, same=0)
    assert await RedisCatalog(store).put(rows) == PutCounts(new=0, changed=0, same=1)


async def test_a_store_that_stays_away_ends_the_write(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.catalog.redis_catalog.FIRST_RETRY_S", 0.0)
    store.failures = [StoreUnavailable("away")] * 100
    with pytest.raises(StoreUnavailable):
        await RedisCatalog(store).raise_epoch()


async def test_a_scheduled_price_starts_and_ends_without_the_store(store: FakeStore) -> None:
    now_ms = 0
    store.scheduled[A] = b"[[80,1000,2000]]"
    book = RedisPriceBook(store, now_ms=lambda: now_ms)
    await book.products([A, B])
    shown = []
    for now_ms in (999, 1000, 1999, 2000, 3000):
        store.failures = [StoreUnavailable("away")]
        products = await book.products([B, A])
        shown.append((now_ms, products[A].price, products[B].price))
    assert shown == [(999, 100, 200), (1000, 80, 200), (1999, 80, 200), (2000, 100, 200), (3000, 100, 200)]
    assert store.fetched == [A, B]


async def test_products_of_before_a_change_leave_with_the_epoch(store: FakeStore) -> None:
    now_ms = 0
    store.scheduled[A] = b"[[80,1000,2000]]"
    book = RedisPriceBook(store, now_ms=lambda: now_ms)
    await book.refresh()
    await book.products([A])
    now_ms = 1000
    assert A not in book.current
    store.scheduled[A], store.epoch = b"[[70,1000,2000]]", b"1"
    await book.refresh()
    assert (await book.products([A]))[A].price == 70


async def test_a_fetch_that_ends_after_a_change_has_the_price_of_then(store: FakeStore) -> None:
    now_ms = 0
    store.scheduled |= {A: b"[[80,1000,2000]]", B: b"[[90,1000,2000]]"}
    book = RedisPriceBook(store, now_ms=lambda: now_ms)
    await book.products([A])
    store.gate = Gate()
    fetching = asyncio.create_task(book.products([B]))
    await asyncio.wait_for(store.gate.reached.wait(), WITHIN_S)
    now_ms = 1000
    assert (await book.products([A]))[A].price == 80
    store.gate.opened.set()
    assert (await asyncio.wait_for(fetching, WITHIN_S))[B].price == 90
    store.gate = None
    products = await book.products([A, B])
    assert (products[A].price, products[B].price) == (80, 90)
    now_ms = 2000
    products = await book.products([A, B])
    assert (products[A].price, products[B].price) == (100, 200)

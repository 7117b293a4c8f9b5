"""The catalogue in Redis: one hash per product, tagged by its SKU, with the live stock in it.

Keys: `{<sku>}p` hash (name, price, currency, stock, and if it has them its category and its terms, each in JSON); `catalog:epoch` counter, raised when a price or a name changed;
`catalog:imports` hash of imported files (see `ImportedFiles`); `catalog:lease` the lease of the running import; `catalog:changes` stream
of products that were put or removed, for the searches of other hosts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from cart.catalog.imported_files import ImportedFiles
from cart.catalog.model import CatalogRow, row_of
from cart.catalog.ports import CatalogChange, ImportBusy, PutCounts, StockUnknown
from cart.coupons import is_coupon
from cart.ids import parse_sku
from cart.model import NO_TERMS, Product, Sku, Terms
from cart.scheduled_prices import earlier
from cart.sku_keys import holds_key, product_key
from cart.timestamps import unix_ms
from primitives.backoff import Backoff
from primitives.unit_of_work import unit_of_work
from store import Lease, LeaseBusy, LeaseLost, Script, Store, StoreError

EPOCH_KEY = "catalog:epoch"
IMPORTS_KEY = "catalog:imports"
LEASE_KEY = "catalog:lease"
CHANGES_KEY = "catalog:changes"

# Commands sent together: few enough for the queue and the deadline of the store client.
WINDOW = 250
# Entries of the stream: as many products as a large catalogue has, in some 10 MB.
MAX_CHANGES = 2000
ATTEMPTS = 7
FIRST_RETRY_S = 0.1
MAX_RETRY_S = 3.2
LEASE_MS = 10_000
_TERMS = Terms.__struct_fields__
_OF_PRODUCT = ("name", "price", "currency", "category", *_TERMS)

PUT_PRODUCT = Script.from_files(*(("cart.catalog", f"scripts/{name}.lua") for name in ("stock_book", "put_product")))

_Reply = TypeVar("_Reply")


class RedisPriceBook:
    """The price book of a process: it caches products until any price changes.

    `watch` must run beside it. It reads the epoch every `poll_s` seconds, so a changed price is effective within that
    time after the import raised the epoch. At most `max_products` are cached (about 0.5 KiB each), and none for longer
    than `max_age_s`: an import killed between a price and the epoch would otherwise leave the old price for ever.

    A scheduled price starts and ends by this process's clock `now_ms`, in Unix milliseconds, without a call of the store.

    While the epoch is unknown, the cache stays valid, and `is_stale` once that has lasted longer than
    `stale_after_s`. After `max_stale_s` the cache is cleared, so no price is shown that may be wrong.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_products: int = 50_000,
        max_age_s: float = 30.0,
        poll_s: float = 0.5,
        stale_after_s: float = 2.0,
        max_stale_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._store = store
        self._max_products = max_products
        self._max_age_s = max_age_s
        self._poll_s = poll_s
        self._stale_after_s = stale_after_s
        self._max_stale_s = max_stale_s
        self._clock = clock
        self._now_ms = now_ms
        # A plain attribute: handlers read it for every response. See `cart.ports.PriceBook`.
        self.is_stale = False
        self._confirmed_at = clock()
        # Entries are never taken out of a mapping, since callers may still look up in it: it is replaced as a whole.
        self._cached: dict[Sku, Product] = {}
        self._cached_since = clock()
        self._epoch: bytes | None = None
        # The instant at which the first price of the mapping changes.
        self._changes_at: int | None = None
        # The products of mappings before such a change. The price of now is computed once a product is asked for: the start
        # of an event for very many products does not hold up the loop.
        self._outdated: dict[Sku, Product] = {}

    @property
    def current(self) -> Mapping[Sku, Product]:
        """See `cart.ports.PriceBook`."""
        return self._prices_of_now()

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        """See `cart.ports.PriceBook`; the mapping is the cache itself. Raises `StoreError` where it must fetch."""
        cached = self._prices_of_now()
        missing = [sku for sku in skus if sku not in cached]
        if not missing:
            return cached
        outdated = {sku: self._outdated[sku] for sku in missing if sku in self._outdated}
        if len(outdated) == len(missing):
            return self._add(cached, outdated, skus)
        fetched = await self._fetch([sku for sku in missing if sku not in outdated])
        return self._add(cached, outdated | fetched, skus)

    def _add(
        self, cached: dict[Sku, Product], products: Mapping[Sku, Product], skus: Collection[Sku]
    ) -> Mapping[Sku, Product]:
        """The mapping with these products at their prices of now; another one, with those that are asked for, where they are too many."""
        now = self._now_ms()
        priced = {sku: product.at(now) for sku, product in products.items()}
        # Into the mapping that was current before the fetch: if a price has changed since, that mapping is no longer used.
        if len(cached) + len(priced) > self._max_products:
            return self._replace_cache(cached, {sku: cached[sku] for sku in skus if sku in cached} | priced)
        for sku, product in priced.items():
            cached.setdefault(sku, product)  # another call may have cached it meanwhile, at another price
            self._outdated.pop(sku, None)
        if cached is self._cached:
            self._follow(priced.values())
        return cached

    async def watch(self) -> None:
        """Follow the epoch until cancelled; while the store is away, the cache stays valid."""
        while True:
            with unit_of_work():
                await self.refresh()
            await asyncio.sleep(self._poll_s)

    async def refresh(self) -> None:
        """Read the epoch once, and drop the cache if it moved or is too old."""
        try:
            epoch = await self._store.execute("GET", EPOCH_KEY)
        except StoreError:
            self._mark_unconfirmed()
            return
        now = self._clock()
        self._confirmed_at = now
        was_stale, self.is_stale = self.is_stale, False
        if epoch != self._epoch or now - self._cached_since >= self._max_age_s:
            self._epoch = epoch
            self._replace_cache(self._cached, {})
        elif was_stale:
            self._cached = dict(self._cached)

    def _mark_unconfirmed(self) -> None:
        unconfirmed_s = self._clock() - self._confirmed_at
        if unconfirmed_s >= self._max_stale_s:
            self._replace_cache(self._cached, {})
        elif unconfirmed_s > self._stale_after_s and not self.is_stale:
            self._cached = dict(self._cached)
        self.is_stale = unconfirmed_s > self._stale_after_s

    def _prices_of_now(self) -> dict[Sku, Product]:
        """The current mapping; another one, empty at first, once a scheduled price has started or ended."""
        if self._changes_at is not None and self._now_ms() >= self._changes_at:
            self._outdated = self._outdated | self._cached
            self._cached, self._changes_at = {}, None
        return self._cached

    def _follow(self, products: Iterable[Product]) -> None:
        """Take note of the next change of these products of the current mapping."""
        for product in products:
            if product.period is not None:
                self._changes_at = earlier(self._changes_at, product.price_ends_at)

    def _replace_cache(self, old: dict[Sku, Product], new: dict[Sku, Product]) -> dict[Sku, Product]:
        if old is self._cached:
            self._cached = new
            self._cached_since = self._clock()
            self._changes_at, self._outdated = None, {}
            self._follow(new.values())
        return new

    async def _fetch(self, skus: Sequence[Sku]) -> dict[Sku, Product]:
        return await fetch_products(self._store, [sku for sku in skus if is_coupon(sku) or parse_sku(sku) is not None])


async def fetch_products(store: Store, skus: Sequence[Sku]) -> dict[Sku, Product]:
    """Those of the products that are in the catalogue, at their ordinary prices. Raises `StoreError`."""
    replies = await asyncio.gather(*(store.execute("HMGET", product_key(sku), *_OF_PRODUCT) for sku in skus))
    return {
        sku: Product(
            sku,
            name.decode(),
            int(price),
            currency.decode(),
            (category or b"").decode(),
            _terms(terms),
        )
        for sku, (name, price, currency, category, *terms) in zip(skus, replies, strict=True)
        if name is not None
    }


def _terms(values: Sequence[bytes | None]) -> Terms:
    told = [
        b'"%b":%b' % (name.encode(), value) for name, value in zip(_TERMS, values, strict=True) if value is not None
    ]
    return msgspec.json.decode(b"{%b}" % b",".join(told), type=Terms) if told else NO_TERMS


class RedisCatalog:
    """Writes products and reads their live stock; implements `Catalog` and `StockLevels`."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = unix_ms) -> None:
        self._store = store
        self._now_ms = now_ms
        self._imported = ImportedFiles(store, IMPORTS_KEY, now_ms=now_ms)

    async def level(self, sku: Sku) -> int | None:
        """See `StockLevels`."""
        try:
            units = await self._store.execute("HGET", product_key(sku), "stock")
        except StoreError as error:
            raise StockUnknown(error) from error
        return None if units is None else int(units)

    async def levels(self, skus: Sequence[Sku]) -> Sequence[int | None]:
        """See `StockLevels`."""
        try:
            replies = await asyncio.gather(*(self._store.execute("HGET", product_key(sku), "stock") for sku in skus))
        except StoreError as error:
            raise StockUnknown(error) from error
        return [None if units is None else int(units) for units in replies]

    async def put(self, rows: Sequence[CatalogRow]) -> PutCounts:
        """See `Catalog`. Tries again for some seconds while the store is away or busy, then raises `StoreError`."""
        total = PutCounts(0, 0, 0)
        for start in range(0, len(rows), WINDOW):
            counts = await self._put_window(rows[start : start + WINDOW])
            total = total.plus(counts)
        return total

    async def _put_window(self, rows: Sequence[CatalogRow]) -> PutCounts:
        def send() -> Awaitable[list[bytes]]:
            return asyncio.gather(
                *(
                    self._store.run(
                        PUT_PRODUCT,
                        (product_key(row.sku), holds_key(row.sku)),
                        _arguments(row),
                    )
                    for row in rows
                )
            )

        replies, was_repeated = await _retry(send)
        scheduled = tuple(row.sku for row, reply in zip(rows, replies, strict=True) if reply.endswith(b"+"))
        outcomes = [reply.removesuffix(b"+") for reply in replies]
        new, changed, same, unknown = (outcomes.count(each) for each in (b"new", b"changed", b"same", b"unknown"))
        if was_repeated:
            # Unchanged rows may have been changed by the attempt with lost replies: the epoch must rise.
            return PutCounts(new, changed + same, 0, unknown, scheduled)
        return PutCounts(new, changed, same, unknown, scheduled)

    async def missing(self, skus: Sequence[Sku]) -> list[Sku]:
        """See `Catalog`. Raises `StoreError`."""
        found: list[Sku] = []
        for start in range(0, len(skus), WINDOW):
            window = skus[start : start + WINDOW]

            def send(window: Sequence[Sku] = window) -> Awaitable[list[int]]:
                return asyncio.gather(*(self._store.execute("HEXISTS", product_key(sku), "name") for sku in window))

            exists, _ = await _retry(send)
            found += [sku for sku, is_there in zip(window, exists, strict=True) if not is_there]
        return found

    async def remove(self, skus: Sequence[Sku]) -> int:
        """See `Catalog`. Raises `StoreError`."""
        removed = 0
        for start in range(0, len(skus), WINDOW):
            window = skus[start : start + WINDOW]

            def send(window: Sequence[Sku] = window) -> Awaitable[list[int]]:
                return asyncio.gather(*(self._store.execute("HDEL", product_key(sku), *_OF_PRODUCT) for sku in window))

            fields, _ = await _retry(send)
            removed += sum(count > 0 for count in fields)
        return removed

    async def announce(self, skus: Sequence[Sku], *, by: str) -> None:
        """See `Catalog`. Raises `StoreError`."""
        for start in range(0, len(skus), WINDOW):
            encoded = msgspec.json.encode(skus[start : start + WINDOW])

            def send(encoded: bytes = encoded) -> Awaitable[object]:
                return self._store.execute(
                    "XADD", CHANGES_KEY, "MAXLEN", "~", MAX_CHANGES, "*", "skus", encoded, "by", by
                )

            await _retry(send)

    async def changes_after(self, position: str, limit: int) -> Sequence[CatalogChange]:
        """See `Catalog`. Raises `StoreError`. A position is the id of an entry."""
        start = f"({position}" if position else "-"
        entries = await self._store.execute("XRANGE", CHANGES_KEY, start, "+", "COUNT", limit)
        return [_change(entry_id, fields) for entry_id, fields in entries]

    async def rows(self, skus: Sequence[Sku]) -> Sequence[CatalogRow | None]:
        """See `Catalog`. Raises `StoreError`."""
        found: list[CatalogRow | None] = []
        for start in range(0, len(skus), WINDOW):
            window = skus[start : start + WINDOW]
            products = await fetch_products(self._store, window)
            now = self._now_ms()
            found += [row_of(products[sku], now) if sku in products else None for sku in window]
        return found

    async def raise_epoch(self) -> None:
        """See `Catalog`. Raises `StoreError`."""
        await _retry(lambda: self._store.execute("INCR", EPOCH_KEY))

    async def has_imported(self, digest: str) -> bool:
        """See `Catalog`. Raises `StoreError`."""
        return await self._imported.has(digest)

    async def mark_imported(self, digest: str) -> None:
        """See `Catalog`. Raises `StoreError`."""
        await _retry(lambda: self._imported.mark(digest))

    @asynccontextmanager
    async def lease(self, *, wait_s: float) -> AsyncIterator[None]:
        """See `Catalog.lease`: a lease in the store. Raises `StoreError` too."""
        try:
            async with Lease(self._store, LEASE_KEY, ttl_ms=LEASE_MS).hold(wait_s=wait_s):
                yield
        except LeaseBusy:
            raise ImportBusy("another import into this store is running") from None
        except LeaseLost:
            raise ImportBusy(
                "this import stood still for too long, and lost its lease to others: import again"
            ) from None


def _change(entry_id: bytes, fields: Sequence[bytes]) -> CatalogChange:
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return CatalogChange(
        entry_id.decode(), msgspec.json.decode(values[b"skus"], type=list[Sku]), values[b"by"].decode()
    )


def _arguments(row: CatalogRow) -> Sequence[str | int]:
    """The arguments of `put_product.lua`."""
    values = ("" if value is None else value for value in (row.name, row.price, row.currency, row.stock))
    terms: list[str] = []
    for name, value in msgspec.json.decode(row.terms or "{}").items():
        terms += (name, "" if value is None else msgspec.json.encode(value).decode())
    return *values, "" if row.category is None else f"={row.category}", *terms


async def _retry(send: Callable[[], Awaitable[_Reply]]) -> tuple[_Reply, bool]:
    """Send with up to `ATTEMPTS` attempts; returns the reply, and whether it took more than one."""
    backoff = Backoff(FIRST_RETRY_S, MAX_RETRY_S)
    for attempt in range(ATTEMPTS - 1):
        try:
            return await send(), attempt > 0
        except StoreError:
            await asyncio.sleep(backoff.next_delay_s())
    return await send(), True

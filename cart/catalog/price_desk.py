"""The prices of products as the people of a shop see and change them, beside live sales: the ordinary ones, and those with a time.

Changes run one after another, under the lease of imports: what one has checked is true when it writes. All may be repeated: a change
that is there already is none. Workers know a change within two seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from cart.catalog.model import CatalogRow, terms_of
from cart.catalog.numbers import PRICE_MAX, DecimalMark, minor_units
from cart.catalog.ports import Catalog, ProductSearch
from cart.catalog.price_periods import PeriodsInvalid, checked
from cart.model import Money, Sku
from cart.scheduled_prices import Periods, ScheduledPrice, holding
from cart.timestamps import rfc3339, unix_ms

# Products of one batch.
BATCH: Final = 1000
# Longer than the lease of an import that was killed lasts.
LEASE_WAIT_S: Final = 15.0
_T = TypeVar("_T")
# Writes rows to the catalogue and the search.
Put = Callable[[Sequence[CatalogRow]], Awaitable[None]]


class UnknownProducts(Exception):
    """These SKUs are not in the catalogue."""

    def __init__(self, skus: Sequence[Sku]) -> None:
        super().__init__(f"not in the catalogue: {', '.join(f'{sku!r}' for sku in skus)}")
        self.skus = skus


class PricesRefused(Exception):
    """Prices cannot be set, and none was; `faults` are the SKUs, each with the reason behind its name."""

    def __init__(self, faults: Sequence[tuple[Sku, str]]) -> None:
        super().__init__("; ".join(f"{sku!r} {reason}" for sku, reason in faults[:10]))
        self.faults = faults


class Amount(msgspec.Struct, frozen=True):
    """A price as it was written: in minor units, or a text in major units of the product's currency.

    `currency`, where it is named, must be the product's.
    """

    price: int | str
    currency: str | None = None
    mark: DecimalMark = "."

    def minor_units(self, currency: str) -> int:
        """The price in minor units. Raises `ValueError`."""
        if self.currency not in {None, currency}:
            raise ValueError(f"is sold in {currency}, not in {self.currency}")
        if isinstance(self.price, int):
            if not 0 <= self.price <= PRICE_MAX:
                raise ValueError(f"cannot have the price {self.price}: it must be 0 to {PRICE_MAX} minor units")
            return self.price
        try:
            return minor_units(self.price, currency, self.mark)
        except ValueError as fault:
            raise ValueError(f"cannot have the price {self.price!a}, which {fault}") from None


class ProductPrices(msgspec.Struct, frozen=True):
    """The prices of a product, in minor units: the one of now, the ordinary one, and the scheduled ones by their starts."""

    sku: Sku
    currency: str
    price: int
    ordinary_price: int
    scheduled: Periods

    def members(self) -> Mapping[str, Any]:
        """In JSON, as the command line and the admin API show it."""
        return {
            "sku": self.sku,
            "price": Money(self.price, self.currency),
            "ordinary_price": Money(self.ordinary_price, self.currency),
            "scheduled": [
                {
                    "price": Money(each.price, self.currency),
                    "from": rfc3339(each.start),
                    "until": rfc3339(each.until),
                }
                for each in self.scheduled
            ],
        }


class _Change:
    """A time for which prices are scheduled."""

    def __init__(self, start: int, until: int, *, replace: bool) -> None:
        self._start = start
        self._until = until
        self._replace = replace

    def of(self, amount: Amount, row: CatalogRow | None) -> list[CatalogRow]:
        """The row that schedules the price of a product; none where it is scheduled already. Raises `ValueError`."""
        if row is None or row.currency is None:
            raise ValueError("is not in the catalogue")
        added = ScheduledPrice(amount.minor_units(row.currency), self._start, self._until)
        was = terms_of(row).scheduled_prices
        if added in was:
            return []
        others = [each for each in was if not (self._replace and each.overlaps(added))]
        return [_with_periods(row, checked([*others, added]))]


class PriceDesk:
    """Looks at prices and changes them. All calls raise the errors of their ports; changes also `ImportBusy`."""

    def __init__(
        self,
        catalog: Catalog,
        search: ProductSearch,
        *,
        lease_wait_s: float = LEASE_WAIT_S,
        now_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._lease_wait_s = lease_wait_s
        self._catalog = catalog
        self._search = search
        self._now_ms = now_ms

    async def show(self, skus: Sequence[Sku]) -> list[ProductPrices]:
        """The prices of these products. Raises `UnknownProducts`."""
        return [self._prices(row) for row in await self._rows(skus)]

    async def set_ordinary(self, sku: Sku, amount: Amount) -> ProductPrices:
        """Set the ordinary price. Raises `UnknownProducts` and `PricesRefused`."""
        async with self._changing() as put:
            (row,) = await self._rows([sku])
            assert row.currency is not None
            try:
                price = amount.minor_units(row.currency)
            except ValueError as fault:
                raise PricesRefused([(sku, str(fault))]) from None
            await put([CatalogRow(sku, price=price, currency=row.currency)])
        return (await self.show([sku]))[0]

    async def schedule(self, amounts: Mapping[Sku, Amount], *, start: int, until: int, replace: bool = False) -> int:
        """Schedule prices of many products for the same time, all or none; returns how many were not there already.

        With `replace`, scheduled prices of these products that overlap with it are removed. Raises `PricesRefused`, and
        `PeriodsInvalid` for a time that ends before it begins or has ended.
        """
        if until <= max(start, self._now_ms()):
            raise PeriodsInvalid("the time ends before it begins, or has ended already")
        change = _Change(start, until, replace=replace)
        async with self._changing() as put:
            await self._schedule(amounts, change, put=None)
            return await self._schedule(amounts, change, put=put)

    async def _schedule(self, amounts: Mapping[Sku, Amount], change: _Change, *, put: Put | None) -> int:
        """The number of products that change, with no more than a batch of them in memory; without `put` they are only checked."""
        changed = 0
        faults: list[tuple[Sku, str]] = []
        for batch in _batches(amounts.items()):
            rows: list[CatalogRow] = []
            for (sku, amount), row in zip(batch, await self._catalog.rows([sku for sku, _ in batch]), strict=True):
                try:
                    rows += change.of(amount, row)
                except ValueError as fault:
                    faults.append((sku, str(fault)))
            changed += len(rows)
            if put is not None:
                await put(rows)
        if faults:
            raise PricesRefused(faults)
        return changed

    async def clear(self, skus: Sequence[Sku]) -> int:
        """Remove all scheduled prices of these products; returns how many products had some. Raises `UnknownProducts`."""
        async with self._changing() as put:
            rows = [row for row in await self._rows(skus) if terms_of(row).scheduled_prices]
            await put([_with_periods(row, ()) for row in rows])
        return len(rows)

    async def _rows(self, skus: Sequence[Sku]) -> list[CatalogRow]:
        rows = await self._catalog.rows(skus)
        if unknown := [sku for sku, row in zip(skus, rows, strict=True) if row is None]:
            raise UnknownProducts(unknown)
        return [row for row in rows if row is not None]

    def _prices(self, row: CatalogRow) -> ProductPrices:
        assert row.currency is not None
        assert row.price is not None
        periods = terms_of(row).scheduled_prices
        current = holding(periods, self._now_ms())
        return ProductPrices(row.sku, row.currency, row.price if current is None else current.price, row.price, periods)

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[Put]:
        """Hold the lease of imports; gives the function that writes rows to the catalogue and the search."""
        is_changed = False
        name = await self._search.name()

        async def put(rows: Sequence[CatalogRow]) -> None:
            nonlocal is_changed
            if not rows:
                return
            skus = [row.sku for row in rows]
            is_changed = True
            await self._catalog.put(rows)
            await self._search.upsert([row for row in await self._catalog.rows(skus) if row is not None])
            await self._catalog.announce(skus, by=name)

        async with self._catalog.lease(wait_s=self._lease_wait_s):
            try:
                yield put
            finally:
                # Also of a change that failed: it may be written in part.
                if is_changed:
                    await self._catalog.raise_epoch()


def _with_periods(row: CatalogRow, periods: Periods) -> CatalogRow:
    return CatalogRow(row.sku, terms=msgspec.json.encode({"scheduled_prices": periods or None}).decode())


def _batches(items: Iterable[_T]) -> Iterable[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch

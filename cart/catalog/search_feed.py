"""Brings a search up to date with the catalogue, which other hosts change too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cart.catalog.ports import Catalog, CatalogChange, ProductSearch
from cart.model import Sku
from primitives.rounds import try_round

INTERVAL_S: Final = 1.0
# Of 250 products each.
CHANGES: Final = 8


async def remove_products(skus: Sequence[Sku], *, catalog: Catalog, search: ProductSearch) -> int:
    """Take products out of the catalogue, this search and those of other hosts; returns how many were in the catalogue.

    May be repeated. Raises `StoreError` and `SearchUnavailable`; do it again then.
    """
    removed = await catalog.remove(skus)
    await catalog.raise_epoch()
    await search.remove(skus)
    await catalog.announce(skus, by=await search.name())
    return removed


class SearchFeed:
    """Reads the changes of the catalogue about every `interval_s` seconds. Any number of processes may do so for one index."""

    def __init__(
        self,
        catalog: Catalog,
        search: ProductSearch,
        *,
        interval_s: float = INTERVAL_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._catalog = catalog
        self._search = search
        self._interval_s = interval_s
        self._sleep = sleep
        self._chance = chance

    async def run(self) -> None:
        """Follow the changes until cancelled."""
        while True:
            await try_round("bringing the product search up to date", self.catch_up)
            await self._sleep(self._interval_s * (0.5 + self._chance()))

    async def catch_up(self) -> None:
        """Apply all changes since the last time. Raises `StoreError` and `SearchUnavailable`."""
        name, position = await self._search.name(), await self._search.position()
        while changes := await self._catalog.changes_after(position, CHANGES):
            await self._apply(changes, name)
            position = changes[-1].position
            # Behind the changes: after a crash between the two they are applied again, which changes nothing.
            await self._search.mark_position(position)

    async def _apply(self, changes: Sequence[CatalogChange], name: str) -> None:
        skus = list(dict.fromkeys(sku for change in changes if change.by != name for sku in change.skus))
        if not skus:
            return
        # The products as they are now, which may not be those of the time of the change.
        rows = await self._catalog.rows(skus)
        await self._search.upsert([row for row in rows if row is not None])
        await self._search.remove([sku for sku, row in zip(skus, rows, strict=True) if row is None])

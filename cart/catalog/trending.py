"""The products that are ordered most of late: counted beside the checkouts, and listed for shoppers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from cart.catalog.handlers import LIMIT_DEFAULT, LIMIT_MAX, ProductHandlers
from cart.catalog.model import NO_OPTIONS, PageOptions, ProductPage
from cart.catalog.ports import Trends
from cart.errors import InvalidBody, TrendingPaused
from cart.model import Sku
from primitives.rounds import try_round

INTERVAL_S: Final = 1.0
REFRESH_S: Final = 5.0
# Of one batch; orders of other products are not counted. Some 100 bytes each.
MAX_PRODUCTS: Final = 2000
# Of one order, so that counting a wholesaler's takes no longer than others'.
MAX_LINES: Final = 50


class Trending:
    """Counts the products of accepted orders, and knows those that are ordered most in the whole shop. `run` it in the background.

    Orders only add to a batch in memory, which goes to the store every `interval_s`; a batch that cannot be stored is dropped.
    The list is read every `refresh_s`. While `is_paused`, nothing is counted, written or read.
    """

    def __init__(
        self,
        trends: Trends,
        *,
        is_paused: Callable[[], bool],
        interval_s: float = INTERVAL_S,
        refresh_s: float = REFRESH_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._trends = trends
        self.is_paused = is_paused
        self._interval_s = interval_s
        self._refresh_s = refresh_s
        self._clock = clock
        self._sleep = sleep
        self._batch: Counter[Sku] = Counter()
        self._refresh_at = clock()
        # The heaviest first; None before it was read.
        self.top: Sequence[Sku] | None = None
        # Lines of orders: in the store, and not counted because of a pause, a full batch or a store that is away.
        self.counted = 0
        self.dropped = 0

    def count(self, skus: Iterable[Sku]) -> None:
        """Count an order of these products. Does not wait and does not raise."""
        batch = self._batch
        if self.is_paused():
            self.dropped += 1
            return
        for sku in islice(skus, MAX_LINES):
            if sku in batch or len(batch) < MAX_PRODUCTS:
                batch[sku] += 1
            else:
                self.dropped += 1

    async def run(self) -> None:
        """Store batches and read the list until cancelled."""
        while True:
            await try_round("counting trending products", self.round)
            await self._sleep(self._interval_s)

    async def round(self) -> None:
        """Store the batch, and read the list where it is time. Raises the errors of the store, and then drops the batch."""
        batch, self._batch = self._batch, Counter()
        lines = batch.total()
        if self.is_paused():
            self.dropped += lines
            return
        if batch:
            # Until it is stored.
            self.dropped += lines
            await self._trends.add(batch)
            self.dropped -= lines
            self.counted += lines
        if self._clock() >= self._refresh_at:
            self._refresh_at = self._clock() + self._refresh_s
            self.top = await self._trends.top(LIMIT_MAX)


class TrendingHandlers:
    """The call of shoppers for trending products. A request reads nothing but prices and stock of products."""

    def __init__(self, trending: Trending, products: ProductHandlers) -> None:
        self._trending = trending
        self._products = products

    async def page(self, *, limit: int = LIMIT_DEFAULT, options: PageOptions = NO_OPTIONS) -> ProductPage:
        """Up to `limit` products that are ordered most of late, the first the most, in one page.

        Filters choose from the first 100. Raises `InvalidBody` naming `/limit`, and `TrendingPaused`.
        """
        if not 1 <= limit <= LIMIT_MAX:
            raise InvalidBody([("/limit", f"must be 1 to {LIMIT_MAX}")])
        top = self._trending.top
        if top is None or self._trending.is_paused():
            raise TrendingPaused
        is_filtered = options.in_stock or options.only is not None
        views, degraded = await self._products.views_of(top if is_filtered else top[:limit], options)
        page = [view for view in views if options.admits(view.product, in_stock=view.in_stock)]
        return ProductPage(page[:limit], None, degraded, options.fields)

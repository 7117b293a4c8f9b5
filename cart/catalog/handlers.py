"""The product calls, without HTTP: one product, and pages of the catalogue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cart.catalog.model import NO_OPTIONS, STOCK_UNKNOWN, PageOptions, ProductPage, ProductView
from cart.catalog.ports import ForeignCursor, ProductSearch, SearchHits, StockLevels, StockUnknown
from cart.coupons import is_coupon
from cart.errors import InvalidBody, ProductNotFound
from cart.ids import parse_sku
from cart.model import STALE_PRICES, Product, Sku
from cart.ports import PriceBook
from cart.timestamps import unix_ms
from primitives.bounded_map import BoundedMap

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
Q_MAX_CHARS = 256
# Some 0.5 KiB each.
MAX_CACHED_VIEWS = 10_000
# Some 0.1 KiB each.
MAX_CACHED_STOCK = 50_000
# A page with filters ends after so many searches, or this time: some 180 products are looked at where one in ten is left.
MAX_SEARCHES = 12
FILTER_BUDGET_S = 0.02
# Caches serve a response for a second, and by default a minute longer while the store is away.
MAX_CACHED_MS = 300_000


class ProductHandlers:
    """The catalogue calls of shoppers. Without `show_stock`, no response has a unit count.

    While the stock is unknown, a product has the `in_stock` that this process saw last, and no count. For a product that
    it never saw, the calls raise the error of the stock.
    """

    def __init__(
        self,
        *,
        prices: PriceBook,
        stock: StockLevels,
        search: ProductSearch,
        show_stock: bool = True,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._prices = prices
        self._stock = stock
        self._search = search
        self._show_stock = show_stock
        self._clock = clock
        self._now_ms = now_ms
        self._views: BoundedMap[Sku, ProductView] = BoundedMap(MAX_CACHED_VIEWS)
        self._was_in_stock: BoundedMap[Sku, bool] = BoundedMap(MAX_CACHED_STOCK)

    async def get(self, sku: Sku) -> ProductView:
        """The product of that SKU with its stock of this moment. Raises `ProductNotFound`."""
        product = (await self._prices.products((sku,))).get(sku)
        if product is None or is_coupon(sku):
            # Only now: nearly all SKUs are asked for as they are in the catalogue.
            parsed = parse_sku(sku)
            if parsed is None or parsed == sku:
                raise ProductNotFound(sku)
            return await self.get(parsed)
        try:
            level = await self._stock.level(sku)
        except StockUnknown as unknown:
            return self._last_known(product, unknown)
        if level is None:
            raise ProductNotFound(sku)
        if product.period is not None and self._price_left_ms(product) is not None:
            # The header fields of its response are of this moment.
            return self._view(product, level)
        cached = self._views.get(sku)
        if (
            cached is not None
            and cached.product is product
            and cached.stock == (max(level, 0) if self._show_stock else None)
            and cached.in_stock is (level > 0)
            and cached.is_ahead is _is_ahead(product, level)
            and bool(cached.degraded) is self._prices.is_stale
        ):
            return cached
        view = self._view(product, level)
        self._views.put(sku, view)
        return view

    async def page(
        self,
        *,
        limit: int = LIMIT_DEFAULT,
        cursor: str | None = None,
        q: str | None = None,
        options: PageOptions = NO_OPTIONS,
    ) -> ProductPage:
        """A page of the catalogue in its stable order, or of the products that match `q`.

        `q`: words that the name must all contain, in any case, or an exact SKU, whose product then comes first; names that
        have some of the words inside others come last, see `words`; blank is the same as none. `options` are its filters
        and members; products are filtered by the price and stock of this moment. Raises `InvalidBody` naming `/limit`
        (1 to 100), `/q` or `/cursor`.
        """
        if not 1 <= limit <= LIMIT_MAX:
            raise InvalidBody([("/limit", f"must be 1 to {LIMIT_MAX}")])
        wanted = _query(q)
        try:
            if options.in_stock or options.only is not None:
                return await self._filtered(limit, cursor, wanted, options)
            hits = await self._search.page(limit=limit, cursor=cursor, q=wanted)
        except ForeignCursor:
            raise InvalidBody([("/cursor", "is not the next_cursor of a page of this query")]) from None
        views, degraded = await self.views_of(hits.skus, options)
        return ProductPage(views, hits.next_cursor, degraded, options.fields)

    async def _filtered(self, limit: int, cursor: str | None, q: str | None, options: PageOptions) -> ProductPage:
        """Search on until the page is full; shorter, with a cursor, where that would take too long.

        Each search is for as many products as the page lacks, so its cursor is that of the page.
        """
        page: list[ProductView] = []
        degraded: dict[str, None] = {}
        ends_at = self._clock() + FILTER_BUDGET_S
        for _ in range(MAX_SEARCHES):
            wanted = limit - len(page)
            hits = await self._search.page(limit=wanted, cursor=cursor, q=q, only=options.only)
            views, parts = await self.views_of(hits.skus, options)
            page += [view for view in views if options.admits(view.product, in_stock=view.in_stock)]
            degraded.update(dict.fromkeys(parts))
            cursor = hits.next_cursor
            if cursor is None or len(page) == limit or _is_cut_short(hits, wanted) or self._clock() >= ends_at:
                break
        return ProductPage(page, cursor, tuple(degraded), options.fields)

    async def views_of(self, skus: Sequence[Sku], options: PageOptions) -> tuple[list[ProductView], tuple[str, ...]]:
        """Those of the products that are in the catalogue, and the degraded parts. The cursor stays valid without the others."""
        products = await self._prices.products(skus)
        if not options.needs_stock:
            # No response has this stock.
            found = [products[sku] for sku in skus if sku in products]
            views = [ProductView(each, False, None, price_left_ms=self._price_left_ms(each)) for each in found]
            return views, self._degraded()
        try:
            levels = await self._stock.levels(skus)
        except StockUnknown as unknown:
            views = [self._last_known(products[sku], unknown) for sku in skus if sku in products]
            return views, self._degraded() + STOCK_UNKNOWN
        views = [
            self._view(products[sku], level)
            for sku, level in zip(skus, levels, strict=True)
            if level is not None and sku in products
        ]
        return views, self._degraded()

    def _view(self, product: Product, level: int) -> ProductView:
        in_stock = level > 0
        if self._was_in_stock.get(product.sku) is not in_stock:
            self._was_in_stock.put(product.sku, in_stock)
        stock = max(level, 0) if self._show_stock else None
        left_ms = self._price_left_ms(product)
        return ProductView(product, in_stock, stock, self._degraded(), left_ms, _is_ahead(product, level))

    def _last_known(self, product: Product, unknown: StockUnknown) -> ProductView:
        was_in_stock = self._was_in_stock.get(product.sku)
        if was_in_stock is None:
            raise unknown.why
        degraded = self._degraded() + STOCK_UNKNOWN
        return ProductView(product, was_in_stock, None, degraded, self._price_left_ms(product))

    def _price_left_ms(self, product: Product) -> int | None:
        if product.period is None or product.price_ends_at is None:
            return None
        left_ms = product.price_ends_at - self._now_ms()
        return left_ms if left_ms < MAX_CACHED_MS else None

    def _degraded(self) -> tuple[str, ...]:
        return STALE_PRICES if self._prices.is_stale else ()


def _is_cut_short(hits: SearchHits, wanted: int) -> bool:
    """Whether the search spent its own time budget."""
    return len(hits.skus) < wanted


def _is_ahead(product: Product, level: int) -> bool:
    """Whether the next unit is sold before the shop has it."""
    return -product.terms.ahead_units < level <= 0


def _query(q: str | None) -> str | None:
    if q is None or not q.strip():
        return None
    if len(q) > Q_MAX_CHARS:
        raise InvalidBody([("/q", f"must be at most {Q_MAX_CHARS} characters")])
    try:
        q.encode()
    except UnicodeEncodeError:
        raise InvalidBody([("/q", "is not Unicode text")]) from None
    return q

import pytest

from cart.catalog.handlers import ProductHandlers
from cart.catalog.memory import MemoryCatalog, MemorySearch, MemoryTrends
from cart.catalog.model import CatalogRow, PageOptions, ProductFilter
from cart.catalog.trending import MAX_LINES, MAX_PRODUCTS, REFRESH_S, Trending, TrendingHandlers
from cart.errors import InvalidBody, TrendingPaused
from cart.model import Sku

ROWS = [
    CatalogRow(Sku("A"), "RED LAMP", 500, "GBP", 3, "Lighting"),
    CatalogRow(Sku("B"), "BLUE LAMP", 900, "GBP", 0, "Lighting"),
    CatalogRow(Sku("C"), "MUG", 300, "GBP", 1),
]
A, B, C = (row.sku for row in ROWS)


class BrokenTrends(MemoryTrends):
    """A `Trends` whose store is away while `is_away`."""

    is_away = False

    async def add(self, orders: object) -> None:
        if self.is_away:
            raise ConnectionError("away")
        await super().add(orders)  # type: ignore[arg-type]


class Shop:
    def __init__(self) -> None:
        self.now = 0.0
        self.is_paused = False
        self.trends = BrokenTrends(half_life_s=60, clock=lambda: self.now)
        self.trending = Trending(self.trends, is_paused=lambda: self.is_paused, clock=lambda: self.now)
        self.catalog = MemoryCatalog()
        products = ProductHandlers(prices=self.catalog, stock=self.catalog, search=MemorySearch())
        self.handlers = TrendingHandlers(self.trending, products)

    async def skus(self, limit: int = 20, options: PageOptions | None = None) -> list[str]:
        page = await self.handlers.page(limit=limit, options=options or PageOptions())
        assert page.next_cursor is None
        return [view.product.sku for view in page.products]

    async def later(self) -> None:
        self.now += REFRESH_S
        await self.trending.round()


@pytest.fixture
async def shop() -> Shop:
    shop = Shop()
    await shop.catalog.put(ROWS)
    for skus in ([B, A], [B, C], [B], [A]):
        shop.trending.count(skus)
    await shop.trending.round()
    return shop


async def test_the_products_of_the_most_orders_come_first(shop: Shop) -> None:
    assert await shop.skus() == ["B", "A", "C"]
    assert await shop.skus(limit=1) == ["B"]
    assert (shop.trending.counted, shop.trending.dropped) == (6, 0)


async def test_filters_and_members_are_those_of_other_pages(shop: Shop) -> None:
    assert await shop.skus(1, PageOptions(in_stock=True)) == ["A"]
    assert await shop.skus(9, PageOptions(only=ProductFilter("Lighting", "GBP", 600))) == ["B"]
    page = await shop.handlers.page(limit=1, options=PageOptions(fields=frozenset({"name"})))
    assert page.to_json() == b'{"products":[{"sku":"B","name":"BLUE LAMP"}],"next_cursor":null}'


async def test_products_that_left_the_catalogue_are_left_out(shop: Shop) -> None:
    shop.trending.count([Sku("GONE")] * 5)
    await shop.later()
    assert await shop.skus() == ["B", "A", "C"]


async def test_the_list_is_read_from_time_to_time_and_never_by_a_request(shop: Shop) -> None:
    shop.trending.count([C] * 9)
    await shop.trending.round()
    assert await shop.skus() == ["B", "A", "C"]
    await shop.later()
    assert await shop.skus() == ["C", "B", "A"]


async def test_a_list_that_was_not_read_yet_is_off() -> None:
    with pytest.raises(TrendingPaused):
        await Shop().skus()


async def test_while_paused_nothing_is_counted_read_or_sent(shop: Shop) -> None:
    shop.trending.count([C] * 5)
    shop.is_paused = True
    shop.trending.count([C])
    with pytest.raises(TrendingPaused):
        await shop.skus()
    await shop.later()
    shop.is_paused = False
    await shop.later()
    assert await shop.skus() == ["B", "A", "C"]
    assert (shop.trending.counted, shop.trending.dropped) == (6, 6)


async def test_a_batch_that_cannot_be_stored_is_dropped_and_the_list_stays(shop: Shop) -> None:
    shop.trending.count([C] * 5)
    shop.trends.is_away = True
    with pytest.raises(ConnectionError):
        await shop.trending.round()
    shop.trends.is_away = False
    await shop.later()
    assert await shop.skus() == ["B", "A", "C"]
    assert (shop.trending.counted, shop.trending.dropped) == (6, 5)


async def test_batches_and_orders_are_bounded() -> None:
    shop = Shop()
    shop.trending.count(Sku(str(number)) for number in range(MAX_LINES + 10))
    await shop.trending.round()
    assert (shop.trending.counted, shop.trending.dropped) == (MAX_LINES, 0)
    for number in range(MAX_PRODUCTS + 10):
        shop.trending.count([Sku(str(number))])
    await shop.trending.round()
    assert (shop.trending.counted, shop.trending.dropped) == (MAX_LINES + MAX_PRODUCTS, 10)


@pytest.mark.parametrize("limit", [0, 101])
async def test_a_limit_outside_one_to_a_hundred_is_refused(shop: Shop, limit: int) -> None:
    with pytest.raises(InvalidBody):
        await shop.skus(limit)

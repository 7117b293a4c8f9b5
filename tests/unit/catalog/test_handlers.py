from typing import Any

import msgspec
import pytest

from cart.catalog.handlers import ProductHandlers
from cart.catalog.memory import MemoryCatalog, MemorySearch
from cart.catalog.model import CatalogRow, PageOptions, ProductFilter, ProductView
from cart.errors import InvalidBody, ProductNotFound
from cart.model import Product, Sku

ROWS = [
    CatalogRow(Sku("A"), "RED HEART", 255, "GBP", 7),
    CatalogRow(Sku("B"), "BLUE HEART", 300, "GBP", 0),
    CatalogRow(Sku("red"), "LANTERN", 100, "GBP", 1),
]


class Shop:
    def __init__(self, *, show_stock: bool = True) -> None:
        self.catalog = MemoryCatalog()
        self.search = MemorySearch()
        self.handlers = ProductHandlers(
            prices=self.catalog, stock=self.catalog, search=self.search, show_stock=show_stock
        )

    async def stocked(self) -> "Shop":
        await self.catalog.put(ROWS)
        await self.search.upsert(ROWS)
        return self

    async def shown(self, q: str) -> list[str]:
        return [view.product.sku for view in (await self.handlers.page(q=q)).products]


@pytest.fixture
async def shop() -> Shop:
    return await Shop().stocked()


async def test_a_product_comes_with_the_stock_of_this_moment(shop: Shop) -> None:
    heart = Product(Sku("A"), "RED HEART", 255, "GBP")
    assert await shop.handlers.get(Sku("A")) == ProductView(heart, True, 7)
    shop.catalog.stock[Sku("A")] = 0
    assert await shop.handlers.get(Sku("A")) == ProductView(heart, False, 0)


async def test_a_range_of_prices_is_that_of_now(shop: Shop) -> None:
    sale = CatalogRow(Sku("A"), price=255, currency="GBP", terms='{"scheduled_prices":[[99,1,9999999999999]]}')
    await shop.catalog.put([sale])
    await shop.search.upsert([sale])
    for only, skus in ((ProductFilter(None, "GBP", None, 99), ["A"]), (ProductFilter(None, "GBP", 200), ["B"])):
        page = await shop.handlers.page(options=PageOptions(only=only))
        assert [view.product.sku for view in page.products] == skus


async def test_an_unknown_sku_is_not_found(shop: Shop) -> None:
    with pytest.raises(ProductNotFound) as refused:
        await shop.handlers.get(Sku("Z"))
    assert refused.value.sku == "Z"


async def test_a_product_is_found_by_every_spelling_of_its_sku(shop: Shop) -> None:
    assert (await shop.handlers.get(Sku("\u3000A "))).product.sku == "A"
    for unknown in (" Z", "a\\b", ""):
        with pytest.raises(ProductNotFound):
            await shop.handlers.get(Sku(unknown))


async def test_a_product_removed_from_the_catalogue_is_not_found_although_its_price_is_cached(shop: Shop) -> None:
    del shop.catalog.stock[Sku("A")]
    with pytest.raises(ProductNotFound):
        await shop.handlers.get(Sku("A"))


async def test_pages_follow_each_other_to_the_end(shop: Shop) -> None:
    first = await shop.handlers.page(limit=2)
    assert [view.product.sku for view in first.products] == ["A", "B"]
    last = await shop.handlers.page(limit=2, cursor=first.next_cursor)
    assert [(view.product.sku, view.stock) for view in last.products] == [("red", 1)]
    assert last.next_cursor is None


async def test_an_exact_sku_comes_before_the_names_with_that_word(shop: Shop) -> None:
    assert await shop.shown("red") == ["red", "A"]
    assert await shop.shown("RED") == ["A"]


async def test_a_blank_query_is_none_and_one_of_punctuation_finds_nothing(shop: Shop) -> None:
    assert await shop.shown("") == await shop.shown("  ") == ["A", "B", "red"]
    assert await shop.shown('"*') == []


async def test_a_product_that_is_only_in_the_search_is_left_out(shop: Shop) -> None:
    await shop.search.upsert([CatalogRow(Sku("GONE"), "HEART")])
    assert await shop.shown("heart") == ["A", "B"]


async def test_an_empty_catalogue_has_an_empty_page() -> None:
    assert (await Shop().handlers.page()).to_json() == b'{"products":[],"next_cursor":null}'


async def test_the_stock_can_be_hidden() -> None:
    shop = await Shop(show_stock=False).stocked()
    assert (await shop.handlers.get(Sku("A"))).stock is None
    assert [(view.in_stock, view.stock) for view in (await shop.handlers.page()).products] == [
        (True, None),
        (False, None),
        (True, None),
    ]


@pytest.mark.parametrize("limit", [0, -1, 101, 10**9])
async def test_a_limit_outside_one_to_a_hundred_is_refused(shop: Shop, limit: int) -> None:
    with pytest.raises(InvalidBody) as refused:
        await shop.handlers.page(limit=limit)
    assert refused.value.errors == [("/limit", "must be 1 to 100")]


async def test_a_cursor_of_another_query_is_refused(shop: Shop) -> None:
    page = await shop.handlers.page(limit=1)
    with pytest.raises(InvalidBody) as refused:
        await shop.handlers.page(limit=1, cursor=page.next_cursor, q="heart")
    assert refused.value.errors == [("/cursor", "is not the next_cursor of a page of this query")]


@pytest.mark.parametrize(
    ("q", "detail"), [("x" * 257, "must be at most 256 characters"), ("\ud800", "is not Unicode text")]
)
async def test_a_query_too_long_or_undecodable_is_refused(shop: Shop, q: str, detail: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        await shop.handlers.page(q=q)
    assert refused.value.errors == [("/q", detail)]


# When something cannot be found out


async def test_a_product_whose_stock_is_unknown_has_the_cached_stock_without_its_count(shop: Shop) -> None:
    fresh = await shop.handlers.get(Sku("A"))
    await shop.handlers.get(Sku("B"))
    shop.catalog.stock_is_unknown = ConnectionError("away")
    last_known = await shop.handlers.get(Sku("A"))
    assert last_known == ProductView(fresh.product, True, None, ("products",))
    assert (await shop.handlers.get(Sku("B"))).in_stock is False

    shop.catalog.stock_is_unknown = None
    assert await shop.handlers.get(Sku("A")) == fresh


async def test_a_product_without_cached_stock_is_an_error_while_the_stock_is_unknown(shop: Shop) -> None:
    shop.catalog.stock_is_unknown = ConnectionError("away")
    with pytest.raises(ConnectionError):
        await shop.handlers.get(Sku("A"))
    with pytest.raises(ProductNotFound):
        await shop.handlers.get(Sku("Z"))
    with pytest.raises(ConnectionError):
        await shop.handlers.page()


async def test_a_page_has_the_cached_stock_while_the_stock_is_unknown(shop: Shop) -> None:
    fresh = await shop.handlers.page()
    shop.catalog.stock_is_unknown = ConnectionError("away")
    page = await shop.handlers.page()
    assert page.degraded == ("products",)
    assert [view.product for view in page.products] == [view.product for view in fresh.products]
    assert [view.in_stock for view in page.products] == [True, False, True]
    assert {view.stock for view in page.products} == {None}


async def test_products_and_pages_are_marked_as_degraded_while_prices_are_stale(shop: Shop) -> None:
    fresh = await shop.handlers.get(Sku("A"))
    shop.catalog.is_stale = True
    stale = await shop.handlers.get(Sku("A"))
    assert (fresh.degraded, stale.degraded) == ((), ("prices",))
    assert await shop.handlers.get(Sku("A")) is stale
    assert (await shop.handlers.page()).degraded == ("prices",)
    shop.catalog.stock_is_unknown = ConnectionError("away")
    assert (await shop.handlers.get(Sku("A"))).degraded == ("prices", "products")
    shop.catalog.stock_is_unknown = None
    shop.catalog.is_stale = False
    assert (await shop.handlers.get(Sku("A"))).degraded == ()


async def test_the_cached_stock_is_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.catalog.handlers.MAX_CACHED_STOCK", 2)
    handlers = ProductHandlers(prices=shop.catalog, stock=shop.catalog, search=shop.search)
    await handlers.page()
    shop.catalog.stock_is_unknown = ConnectionError("away")
    assert (await handlers.get(Sku("red"))).in_stock
    with pytest.raises(ConnectionError):
        await handlers.get(Sku("A"))


# Filters and members


async def stocked_shelf(levels: list[int]) -> Shop:
    shop = Shop()
    rows = [CatalogRow(Sku(f"S{at}"), "LAMP", 100 + at, "GBP", units, "Lighting") for at, units in enumerate(levels)]
    await shop.catalog.put(rows)
    await shop.search.upsert(rows)
    return shop


async def listed(shop: Shop, limit: int, options: PageOptions, q: str | None = None) -> list[list[Sku]]:
    page = await shop.handlers.page(limit=limit, q=q, options=options)
    pages = [[view.product.sku for view in page.products]]
    while page.next_cursor is not None:
        page = await shop.handlers.page(limit=limit, q=q, options=options, cursor=page.next_cursor)
        pages.append([view.product.sku for view in page.products])
    return pages


IN_STOCK = PageOptions(in_stock=True)


@pytest.mark.parametrize("q", [None, "lamp"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_products_in_stock_are_full_and_hold_each_once(limit: int, q: str | None) -> None:
    shop = await stocked_shelf([0, 1, 2, 0, 0, 3, 0, 4, 5, 0])
    pages = await listed(shop, limit, IN_STOCK, q)
    assert [sku for page in pages for sku in page] == ["S1", "S2", "S5", "S7", "S8"]
    assert all(len(page) == limit for page in pages[:-1])


async def test_a_page_of_a_sold_out_shop_ends_after_a_bounded_number_of_searches_and_is_continued() -> None:
    shop = await stocked_shelf([0] * 50 + [1])
    first = await shop.handlers.page(limit=1, options=IN_STOCK)
    assert (first.products, first.next_cursor is not None) == ([], True)
    pages = await listed(shop, 1, IN_STOCK)
    assert [sku for page in pages for sku in page] == ["S50"]
    assert len(pages) == 5, "each looks at MAX_SEARCHES products"


async def test_a_page_with_filters_ends_at_its_time_budget() -> None:
    shop = await stocked_shelf([0, 0, 0, 1])
    times = iter([0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0])
    shop.handlers = ProductHandlers(
        prices=shop.catalog, stock=shop.catalog, search=shop.search, clock=lambda: next(times)
    )
    assert await listed(shop, 1, IN_STOCK) == [[], [], [], ["S3"]]


async def test_products_are_filtered_by_the_price_and_category_of_this_moment() -> None:
    shop = await stocked_shelf([1, 1, 1])
    await shop.catalog.put([CatalogRow(Sku("S1"), price=900, currency="GBP"), CatalogRow(Sku("S2"), category="Sale")])
    cheap = PageOptions(only=ProductFilter(None, "GBP", 0, 500))
    assert await listed(shop, 2, cheap) == [["S0", "S2"]]
    assert await listed(shop, 3, PageOptions(only=ProductFilter("Lighting"))) == [["S0", "S1"]]


async def test_a_page_has_only_the_members_that_were_named(shop: Shop) -> None:
    page = await shop.handlers.page(limit=1, options=PageOptions(fields=frozenset({"price", "in_stock"})))
    assert page.to_json() == (
        b'{"products":[{"sku":"A","price":{"amount":255,"currency":"GBP"},"in_stock":true}],'
        b'"next_cursor":"%s"}' % str(page.next_cursor).encode()
    )


async def test_members_without_stock_need_no_stock(shop: Shop) -> None:
    shop.catalog.stock_is_unknown = ConnectionError("away")
    page = await shop.handlers.page(options=PageOptions(fields=frozenset({"name"})))
    assert page.degraded == ()
    assert b'{"sku":"A","name":"RED HEART"}' in page.to_json()


async def test_a_product_shows_its_category_where_it_has_one(shop: Shop) -> None:
    await shop.catalog.put([CatalogRow(Sku("A"), category="Lighting")])
    assert b'"category":"Lighting"' in (await shop.handlers.get(Sku("A"))).to_json()
    assert b"category" not in (await shop.handlers.get(Sku("B"))).to_json()


async def test_a_product_that_is_sold_out_may_be_sold_ahead(shop: Shop) -> None:
    terms = '{"sold_ahead":"backorder","ahead_limit":3,"available_on":"2026-12-20"}'
    await shop.catalog.put([CatalogRow(Sku("A"), terms=terms)])

    async def shown(level: int) -> dict[str, Any]:
        shop.catalog.stock[Sku("A")] = level
        product: dict[str, Any] = msgspec.json.decode((await shop.handlers.get(Sku("A"))).to_json())
        return {name: product.get(name) for name in ("in_stock", "stock", "sold_ahead", "available_on")}

    sold_out = {"in_stock": False, "stock": 0, "sold_ahead": None, "available_on": None}
    assert await shown(1) == {**sold_out, "in_stock": True, "stock": 1}
    ahead = {**sold_out, "sold_ahead": "backorder", "available_on": "2026-12-20"}
    assert [await shown(level) for level in (0, -2, -3)] == [ahead, ahead, sold_out]


async def test_products_that_are_sold_ahead_are_not_in_stock(shop: Shop) -> None:
    await shop.catalog.put([CatalogRow(Sku("A"), terms='{"sold_ahead":"preorder"}')])
    shop.catalog.stock[Sku("A")] = 0
    page = await shop.handlers.page(options=PageOptions(in_stock=True))
    assert "A" not in [view.product.sku for view in page.products]
    page = await shop.handlers.page(options=PageOptions(fields=frozenset({"sold_ahead"})))
    assert {"sku": "A", "sold_ahead": "preorder"} in msgspec.json.decode(page.to_json())["products"]

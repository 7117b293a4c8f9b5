"""The contract of `ProductSearch`, for all adapters."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cart.catalog.memory import MemorySearch
from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.module_search import ModuleSearch
from cart.catalog.opensearch import OpenSearch
from cart.catalog.opensearch_http import AiohttpTransport
from cart.catalog.ports import ForeignCursor, ProductSearch
from cart.catalog.sqlite_search import SqliteSearch
from cart.model import Sku
from store import open_client
from tests.opensearch_stand_in import OpenSearchStandIn, opensearch_server

PRODUCTS = [
    ("85123A", "WHITE HANGING HEART T-LIGHT HOLDER"),
    ("71053", "WHITE METAL LANTERN"),
    ("BANK CHARGES", "Bank Charges"),
    ("POST", "POSTAGE"),
    ("gift_0001_40", "Dotcomgiftshop Gift Voucher £40.00"),
    ("22633", "HAND WARMER UNION JACK"),
    ("POST2", "Post card, RED/WHITE"),
    ("'\"; *", "CAFÉ SET"),
    ("white", "Paint (post)"),
]


@pytest.fixture(params=["memory", "sqlite", "module", "opensearch"])
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ProductSearch]:
    if request.param == "memory":
        yield MemorySearch()
        return
    if request.param == "module":
        client = await open_client(request.getfixturevalue("module_url"), deadline_s=60.0)
        await client.execute("FLUSHALL")
        # No budget: a page is cut short on a machine under load only.
        module = ModuleSearch(client, budget_s=60.0)
        await module.open()
        yield module
        await client.close()
        return
    if request.param == "opensearch":
        async with opensearch_server(OpenSearchStandIn()) as url, aiohttp.ClientSession() as session:
            # No budget here either.
            opensearch = OpenSearch(AiohttpTransport(session, url, deadline_s=60.0), budget_s=60.0)
            await opensearch.open()
            yield opensearch
        return
    search = SqliteSearch(tmp_path / "search.sqlite3")
    await search.open()
    yield search
    await search.close()


@pytest.fixture
async def search(empty: ProductSearch) -> ProductSearch:
    await empty.upsert([CatalogRow(Sku(sku), name) for sku, name in PRODUCTS])
    return empty


def plain_words(text: str) -> set[str]:
    return set("".join(char if char.isalnum() else " " for char in text.lower()).split())


async def everything(search: ProductSearch, limit: int, q: str | None = None) -> list[list[Sku]]:
    hits = await search.page(limit=limit, q=q)
    pages = [hits.skus]
    while hits.next_cursor is not None:
        hits = await search.page(limit=limit, q=q, cursor=hits.next_cursor)
        pages.append(hits.skus)
    return pages


async def found(search: ProductSearch, q: str) -> list[Sku]:
    hits = await search.page(limit=100, q=q)
    assert hits.next_cursor is None
    return hits.skus


async def test_an_empty_index_has_an_empty_page(empty: ProductSearch) -> None:
    assert await empty.page(limit=10) == ([], None)
    assert await empty.page(limit=10, q="white") == ([], None)


async def test_products_are_listed_in_the_order_of_their_first_import(search: ProductSearch) -> None:
    assert (await search.page(limit=100)).skus == [sku for sku, _ in PRODUCTS]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9, 10])
async def test_pages_hold_every_product_once(search: ProductSearch, limit: int) -> None:
    pages = await everything(search, limit)
    assert [sku for page in pages for sku in page] == [sku for sku, _ in PRODUCTS]
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1] != []


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_pages_of_a_search_hold_every_match_once_and_the_exact_sku_first(
    search: ProductSearch, limit: int
) -> None:
    pages = await everything(search, limit, "white")
    assert [sku for page in pages for sku in page] == ["white", "85123A", "71053", "POST2"]
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1] != []


@pytest.mark.parametrize(
    ("q", "skus"),
    [
        ("heart", ["85123A"]),
        ("HEART white", ["85123A"]),
        ("white heart holder lantern", []),
        ("hear", ["85123A"]),
        ("HE", []),
        ("ost", ["POST", "POST2", "white"]),
        ("ost car", ["POST2"]),
        ("T-LIGHT", ["85123A"]),
        ("light t", ["85123A"]),
        ("cafe", ["'\"; *"]),
        ("CAFÉ!", ["'\"; *"]),
        ("£40.00", ["gift_0001_40"]),
        ("white white WHITE heart", ["85123A"]),
    ],
)
async def test_a_search_finds_the_names_that_hold_all_its_words(search: ProductSearch, q: str, skus: list[str]) -> None:
    assert await found(search, q) == skus


@pytest.mark.parametrize(
    ("q", "skus"),
    [
        ("85123A", ["85123A"]),
        ("85123a", []),
        ("BANK CHARGES", ["BANK CHARGES"]),
        ("bank charges", ["BANK CHARGES"]),
        (" 85123A\u3000", ["85123A"]),
        ("gift_0001_40", ["gift_0001_40"]),
        ("POST", ["POST", "POST2", "white"]),
        ("post", ["POST2", "white", "POST"]),
        ("'\"; *", ["'\"; *"]),
    ],
)
async def test_an_exact_sku_comes_first_and_only_as_it_is_written(
    search: ProductSearch, q: str, skus: list[str]
) -> None:
    assert await found(search, q) == skus


@pytest.mark.parametrize(
    "q", ["", '"', "*", "-", "'", "( )", "£", "^", ":", "{}", "+", '""', "\x00", "\\", "%", "💐", "\u0301"]
)
async def test_a_search_of_punctuation_finds_nothing(search: ProductSearch, q: str) -> None:
    assert await found(search, q) == []


@pytest.mark.parametrize(
    "q",
    [
        'white"',
        "white*",
        "whi*",
        "-white",
        "words:white",
        "white AND",
        "NOT white",
        "NEAR(white metal)",
        "white OR x",
        "(white",
    ],
)
async def test_the_syntax_of_search_engines_has_no_effect(search: ProductSearch, q: str) -> None:
    wanted = plain_words(q)
    names = {sku: plain_words(name) for sku, name in PRODUCTS}
    exact = [sku for sku, words in names.items() if wanted <= words]
    inside = [
        sku
        for sku, words in names.items()
        if all(any(each == word or (len(each) > 2 and each in word) for word in words) for each in wanted)
    ]
    assert await found(search, q) == exact + [sku for sku in inside if sku not in exact]


NAMES_WITHOUT_SPACES = [
    ("J1", "限定タンブラー模型"),
    ("J2", "模型"),
    ("C1", "红色连衣裙"),
    ("T1", "ผ้าไหมไทย"),
    ("K1", "한국어책"),
    ("D1", "Smørrebrød Brett"),
    ("D2", "Brød"),
    ("M1", "USBケーブルUSB2"),
]


@pytest.mark.parametrize(
    ("q", "skus"),
    [
        ("タンブラー", ["J1"]),
        ("限定 模型", ["J1"]),
        ("模型", ["J2", "J1"]),
        ("型", ["J1", "J2"]),
        ("连衣裙", ["C1"]),
        ("红色", ["C1"]),
        ("裙红", []),
        ("红裙", []),
        ("ไหม", ["T1"]),
        ("ไทย", ["T1"]),
        ("책", ["K1"]),
        ("brød", ["D2", "D1"]),
        ("BRO\u0308D", []),
        ("rebr", ["D1"]),
        ("brett brød", ["D1"]),
        ("br", []),
        ("ケーブル", ["M1"]),
        ("usb", ["M1"]),
        ("bケ", ["M1"]),
        ("bケー2", []),
    ],
)
async def test_names_without_spaces_are_found_by_a_word_inside_them(
    empty: ProductSearch, q: str, skus: list[str]
) -> None:
    await empty.upsert([CatalogRow(Sku(sku), name) for sku, name in NAMES_WITHOUT_SPACES])
    assert await found(empty, q) == skus
    assert [sku for page in await everything(empty, 1, q) for sku in page] == skus


async def test_names_with_the_words_come_before_names_with_words_that_hold_them(empty: ProductSearch) -> None:
    await empty.upsert(
        [
            CatalogRow(Sku("1"), "HEARTFELT RED"),
            CatalogRow(Sku("2"), "RED HEART"),
            CatalogRow(Sku("3"), "SWEETHEART REDDISH"),
            CatalogRow(Sku("4"), "HEART RED"),
        ]
    )
    for limit in (1, 2, 3, 4, 5):
        pages = await everything(empty, limit, "red heart")
        assert [sku for page in pages for sku in page] == ["2", "4", "1", "3"]
        assert all(len(page) == limit for page in pages[:-1])
        assert pages[-1] != []


async def test_the_parts_of_a_word_in_another_order_do_not_match(empty: ProductSearch) -> None:
    await empty.upsert([CatalogRow(Sku("1"), "ABCD BCDE XABC"), CatalogRow(Sku("2"), "ABCDE")])
    assert await found(empty, "abcde") == ["2"]
    assert await found(empty, "bcdea") == []


async def test_a_renamed_product_is_found_by_the_parts_of_its_new_name_only(search: ProductSearch) -> None:
    await search.upsert([CatalogRow(Sku("71053"), "真鍮ランプ")])
    assert await found(search, "ランプ") == ["71053"]
    assert await found(search, "anter") == []


async def test_a_search_of_a_very_long_word_has_a_page(search: ProductSearch) -> None:
    await search.upsert([CatalogRow(Sku("LONG"), "xy" + "abcdefghij" * 30 + "z")])
    assert await found(search, "abcdefghij" * 25) == ["LONG"]
    assert await found(search, "abcdefghij" * 24 + "bcdefghija") == []


async def test_a_search_of_very_many_words_has_a_page(search: ProductSearch) -> None:
    assert await found(search, " ".join(chr(ord("a") + n % 26) + str(n) for n in range(600))) == []


async def test_a_renamed_product_has_the_same_position_and_is_found_by_its_new_name_only(search: ProductSearch) -> None:
    await search.upsert([CatalogRow(Sku("71053"), "BRASS LAMP")])
    assert (await search.page(limit=3)).skus == ["85123A", "71053", "BANK CHARGES"]
    assert await found(search, "brass") == ["71053"]
    assert await found(search, "lantern") == []
    assert await found(search, "metal white") == []


async def test_a_product_added_twice_is_listed_once(search: ProductSearch) -> None:
    await search.upsert([CatalogRow(Sku("NEW"), "ONE"), CatalogRow(Sku("NEW"), "TWO"), CatalogRow(Sku("NEW"), "TWO")])
    assert (await search.page(limit=100)).skus.count(Sku("NEW")) == 1
    assert (await found(search, "one"), await found(search, "two")) == ([], ["NEW"])


async def test_products_added_during_paging_are_at_the_end(search: ProductSearch) -> None:
    first = await search.page(limit=8)
    await search.upsert([CatalogRow(Sku("NEW"), "NEW")])
    assert (await search.page(limit=8, cursor=first.next_cursor)).skus == ["white", "NEW"]


async def test_a_cursor_belongs_to_its_query(search: ProductSearch) -> None:
    listing = (await search.page(limit=1)).next_cursor
    searching = (await search.page(limit=1, q="white")).next_cursor
    for cursor, q in [(listing, "white"), (searching, None), (searching, "post")]:
        with pytest.raises(ForeignCursor):
            await search.page(limit=1, cursor=cursor, q=q)


@pytest.mark.parametrize(
    "cursor", ["", "x", "\u00e9", "\ud800", "AAAA", "A" * 20, "A" * 10_000, "=" * 20, "-1", "0:", "%00"]
)
async def test_a_forged_cursor_is_refused(search: ProductSearch, cursor: str) -> None:
    with pytest.raises(ForeignCursor):
        await search.page(limit=1, cursor=cursor)


async def test_a_finished_import_is_recorded(search: ProductSearch) -> None:
    assert not await search.has_imported("digest")
    await search.mark_imported("digest")
    await search.mark_imported("digest")
    assert await search.has_imported("digest")
    assert not await search.has_imported("other")


LAMPS = [
    CatalogRow(Sku("L1"), "RED LAMP", 500, "GBP", category="Lighting"),
    CatalogRow(Sku("L2"), "BLUE LAMP", 1500, "GBP", category="Lighting"),
    CatalogRow(Sku("L3"), "RED LAMPSHADE", 700, "EUR", category="Lighting"),
    CatalogRow(Sku("M1"), "RED MUG", 500, "GBP", category="Kitchen & café"),
    CatalogRow(Sku("red"), "LAMP OIL", 900, "GBP"),
    CatalogRow(Sku("N1"), "LAMP WITHOUT A PRICE"),
]
LIGHTING = ProductFilter("Lighting")


@pytest.fixture
async def lamps(empty: ProductSearch) -> ProductSearch:
    await empty.upsert(LAMPS)
    return empty


async def admitted(search: ProductSearch, only: ProductFilter, q: str | None = None, limit: int = 100) -> list[Sku]:
    hits = await search.page(limit=limit, q=q, only=only)
    skus = hits.skus
    while hits.next_cursor is not None:
        hits = await search.page(limit=limit, q=q, only=only, cursor=hits.next_cursor)
        assert len(hits.skus) <= limit
        skus += hits.skus
    return skus


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("only", "q", "skus"),
    [
        (LIGHTING, None, ["L1", "L2", "L3"]),
        (LIGHTING, "lamp", ["L1", "L2", "L3"]),
        (LIGHTING, "red", ["L1", "L3"]),
        (ProductFilter("Kitchen & café"), None, ["M1"]),
        (ProductFilter("lighting"), None, []),
        (ProductFilter('Lighting" OR red'), "lamp", []),
        (ProductFilter(None, "GBP", 500, 900), None, ["L1", "M1", "red", "N1"]),
        (ProductFilter(None, "GBP", 501), None, ["L2", "red", "N1"]),
        (ProductFilter(None, "GBP", None, 500), None, ["L1", "M1", "N1"]),
        (ProductFilter(None, "EUR", 0, 10_000), None, ["L3", "N1"]),
        (ProductFilter(None, "GBP", 900), "red", ["red"]),
        (ProductFilter(None, "GBP", None, 800), "red", ["L1", "M1"]),
        (ProductFilter(None, "GBP", 600), "lamp", ["L2", "red", "N1"]),
        (ProductFilter("Lighting", "GBP", 600), "lamp", ["L2"]),
        (ProductFilter("Lighting", "GBP", 600), None, ["L2"]),
    ],
)
async def test_a_filter_admits_products_of_a_category_and_of_prices(
    lamps: ProductSearch, only: ProductFilter, q: str | None, skus: list[str], limit: int
) -> None:
    assert await admitted(lamps, only, q, limit) == skus


async def test_a_product_moves_to_another_category_and_price_and_out_of_them(lamps: ProductSearch) -> None:
    await lamps.upsert([CatalogRow(Sku("L1"), category="Sale"), CatalogRow(Sku("L2"), price=400, currency="EUR")])
    assert await admitted(lamps, LIGHTING, "lamp") == ["L2", "L3"]
    assert await admitted(lamps, ProductFilter("Sale"), "lamp") == ["L1"]
    assert await admitted(lamps, ProductFilter("Sale", "GBP", 500, 500)) == ["L1"]
    assert await admitted(lamps, ProductFilter(None, "EUR", 400, 400)) == ["L2", "N1"]
    await lamps.upsert([CatalogRow(Sku("L1"), category="")])
    assert await admitted(lamps, ProductFilter("Sale")) == []
    assert await found(lamps, "red lamp") == ["L1", "L3"]


async def test_a_product_with_scheduled_prices_is_in_every_range_until_it_has_none(lamps: ProductSearch) -> None:
    scheduled = '{"scheduled_prices":[[1,100,200]]}'
    await lamps.upsert([CatalogRow(Sku("L1"), price=500, currency="GBP", terms=scheduled)])
    await lamps.upsert([CatalogRow(Sku("L9"), "NEW LAMP", 500, "GBP", terms=scheduled)])
    assert await admitted(lamps, ProductFilter(None, "GBP", 1, 2), "lamp") == ["L1", "N1", "L9"]
    await lamps.upsert([CatalogRow(Sku("L1"), price=500, currency="GBP", terms='{"tax_class":"books"}')])
    assert await admitted(lamps, ProductFilter(None, "GBP", 1, 2), "lamp") == ["N1", "L9"]
    assert await admitted(lamps, ProductFilter(None, "GBP", 500, 500), "red") == ["L1", "M1"]


async def test_members_that_a_row_lacks_stay_in_the_index(lamps: ProductSearch) -> None:
    await lamps.upsert([CatalogRow(Sku("L1"), stock=3), CatalogRow(Sku("L1"), "GREEN LAMP")])
    assert await admitted(lamps, ProductFilter("Lighting", "GBP", 500, 500), "green") == ["L1"]


async def test_a_row_without_a_name_adds_no_product(empty: ProductSearch) -> None:
    await empty.upsert([CatalogRow(Sku("A"), price=500, currency="GBP", category="Lighting")])
    assert await empty.page(limit=10) == ([], None)
    assert await admitted(empty, LIGHTING) == []


async def test_a_cursor_belongs_to_its_filter(lamps: ProductSearch) -> None:
    plain = (await lamps.page(limit=1)).next_cursor
    filtered = (await lamps.page(limit=1, only=LIGHTING)).next_cursor
    searched = (await lamps.page(limit=1, only=LIGHTING, q="lamp")).next_cursor
    assert None not in {plain, filtered, searched}
    for cursor, only, q in [
        (plain, LIGHTING, None),
        (filtered, None, None),
        (filtered, ProductFilter("Sale"), None),
        (filtered, ProductFilter("Lighting", "GBP", 1), None),
        (filtered, LIGHTING, "lamp"),
        (searched, LIGHTING, None),
        (searched, None, "lamp"),
    ]:
        with pytest.raises(ForeignCursor):
            await lamps.page(limit=1, cursor=cursor, only=only, q=q)


async def test_a_removed_product_is_neither_listed_nor_found(lamps: ProductSearch) -> None:
    await lamps.remove([Sku("L1"), Sku("red"), Sku("NONE")])
    assert (await lamps.page(limit=9)).skus == ["L2", "L3", "M1", "N1"]
    assert await found(lamps, "red") == ["L3", "M1"]
    assert await found(lamps, "L1") == []
    assert await admitted(lamps, LIGHTING, "lamp") == ["L2", "L3"]
    assert await admitted(lamps, ProductFilter(None, "GBP", 500, 500)) == ["M1", "N1"]
    await lamps.remove([Sku("L1")])
    assert (await lamps.page(limit=9)).skus == ["L2", "L3", "M1", "N1"]


async def test_a_product_that_is_added_again_is_the_last_and_has_no_members_of_before(lamps: ProductSearch) -> None:
    await lamps.remove([Sku("L1")])
    await lamps.upsert([CatalogRow(Sku("L1"), "GREEN LAMP")])
    assert (await lamps.page(limit=9)).skus == ["L2", "L3", "M1", "red", "N1", "L1"]
    assert await admitted(lamps, LIGHTING, "green") == []
    assert await found(lamps, "red lamp") == ["L3"]


async def test_pages_go_on_while_products_are_removed(search: ProductSearch) -> None:
    first = await search.page(limit=8)
    await search.remove([first.skus[0], first.skus[-1]])
    assert (await search.page(limit=8, cursor=first.next_cursor)).skus == ["white"]


async def test_the_position_in_the_changes_of_the_catalogue_is_stored(empty: ProductSearch) -> None:
    assert await empty.position() == ""
    await empty.mark_position("5-1")
    assert await empty.position() == "5-1"
    assert await empty.name() == await empty.name() != ""

"""SQLite's search, and that of the search module, against the linear search in memory, on generated names and queries."""

import asyncio
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cart.catalog import module_search, sqlite_index, sqlite_queries
from cart.catalog.memory import MemorySearch
from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.module_search import ModuleSearch
from cart.catalog.ports import ProductSearch
from cart.catalog.sqlite_search import SqliteSearch
from cart.model import Sku
from store import open_client

WORDS = st.sampled_from(
    [
        *(
            "red",
            "RED",
            "heart",
            "sweetheart",
            "hear",
            "é",
            "e\u0301",
            "ß",
            "ss",
            "0001",
            "1",
            "A",
            "-",
            '"',
            "'s",
            "NOT",
            " ",
        ),
        *("茶", "茶碗", "緑茶碗", "バス", "ไหม", "ผ้าไหมไทย", "한국"),
    ]
)
NAMES = st.lists(WORDS, max_size=4).map(" ".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SKUS = st.sampled_from(["A", "B", "red", "red heart", "0001", "'s", "茶"]).map(Sku)
QUERIES = NAMES | SKUS


CATEGORIES = st.sampled_from(["", "a", "b"])
PRICES = st.integers(0, 5) | st.none()
ROWS = st.builds(
    lambda sku, name, category, price: CatalogRow(sku, name, price, price if price is None else "GBP", None, category),
    SKUS,
    NAMES | st.none(),
    CATEGORIES | st.none(),
    PRICES,
)
FILTERS = st.builds(ProductFilter, CATEGORIES.filter(bool) | st.none(), st.just("GBP"), PRICES, PRICES)


async def every_page(search: ProductSearch, limit: int, q: str | None, only: ProductFilter | None) -> list[Sku]:
    skus: list[Sku] = []
    cursor: str | None = None
    while True:
        hits = await search.page(limit=limit, cursor=cursor, q=q, only=only)
        assert len(hits.skus) <= limit
        skus += hits.skus
        if (cursor := hits.next_cursor) is None:
            return skus


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_index, "WINDOW_ROWS", 2)
    monkeypatch.setattr(sqlite_queries, "CHUNK_ROWS", 2)
    monkeypatch.setattr(module_search, "FIRST_WINDOW", 2)
    monkeypatch.setattr(module_search, "CHUNK", 2)


async def compare(
    found: ProductSearch, rows: list[CatalogRow], queries: list[tuple[str | None, ProductFilter | None]], limit: int
) -> None:
    expected = MemorySearch()
    for row in rows:
        await expected.upsert([row])
        await found.upsert([row])
    for q, only in queries:
        assert await every_page(found, limit, q, only) == await every_page(expected, limit, q, only)


SOME_ROWS = st.lists(ROWS, max_size=12)
SOME_QUERIES = st.lists(st.tuples(QUERIES | st.none(), FILTERS | st.none()), min_size=1, max_size=5)
BUDGETS = st.sampled_from([0.0, 1e9])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=SOME_ROWS, queries=SOME_QUERIES, limit=st.integers(1, 4), budget_s=BUDGETS)
def test_sqlite_search_and_linear_search_find_the_same(
    small_windows: None,
    rows: list[CatalogRow],
    queries: list[tuple[str | None, ProductFilter | None]],
    limit: int,
    budget_s: float,
) -> None:
    async def run(folder: Path) -> None:
        found = SqliteSearch(folder / "search.sqlite3", budget_s=budget_s, clock=itertools.count().__next__)
        await found.open()
        try:
            await compare(found, rows, queries, limit)
        finally:
            await found.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=SOME_ROWS, queries=SOME_QUERIES, limit=st.integers(1, 4), budget_s=BUDGETS)
def test_the_search_module_and_linear_search_find_the_same(
    small_windows: None,
    module_url: str,
    rows: list[CatalogRow],
    queries: list[tuple[str | None, ProductFilter | None]],
    limit: int,
    budget_s: float,
) -> None:
    async def run() -> None:
        client = await open_client(module_url, deadline_s=60.0)
        await client.execute("FLUSHALL")
        found = ModuleSearch(client, budget_s=budget_s, clock=itertools.count().__next__)
        await found.open()
        try:
            await compare(found, rows, queries, limit)
        finally:
            await client.close()

    asyncio.run(run())

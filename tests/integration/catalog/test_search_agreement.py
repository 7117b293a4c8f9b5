"""SQLite's search against the linear search in memory, on generated names and queries."""

import asyncio
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cart.catalog import sqlite_search
from cart.catalog.memory import MemorySearch
from cart.catalog.ports import ProductSearch
from cart.catalog.sqlite_search import SqliteSearch
from cart.model import Sku

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


async def every_page(search: ProductSearch, limit: int, q: str) -> list[Sku]:
    skus: list[Sku] = []
    cursor: str | None = None
    while True:
        hits = await search.page(limit=limit, cursor=cursor, q=q)
        assert len(hits.skus) <= limit
        skus += hits.skus
        if (cursor := hits.next_cursor) is None:
            return skus


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_search, "WINDOW_ROWS", 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    products=st.lists(st.tuples(SKUS, NAMES), max_size=12),
    queries=st.lists(QUERIES, min_size=1, max_size=5),
    limit=st.integers(1, 4),
    budget_s=st.sampled_from([0.0, 1e9]),
)
def test_sqlite_search_and_linear_search_find_the_same(
    small_windows: None, products: list[tuple[Sku, str]], queries: list[str], limit: int, budget_s: float
) -> None:
    async def compare(folder: Path) -> None:
        expected = MemorySearch()
        found = SqliteSearch(folder / "search.sqlite3", budget_s=budget_s, clock=itertools.count().__next__)
        await found.open()
        try:
            for product in products:
                await expected.upsert([product])
                await found.upsert([product])
            for q in queries:
                assert await every_page(found, limit, q) == await every_page(expected, limit, q)
        finally:
            await found.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder)))

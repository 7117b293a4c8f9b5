"""The search module as the gateway opens it, and over its time budget."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cart.catalog import module_search
from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.module_search import ModuleSearch, SearchModuleMissing
from cart.catalog.ports import SearchUnavailable
from cart.model import Sku
from gateway import compose
from gateway.prerequisites import CannotStart, StoreAddress
from gateway.settings import Settings
from store import Client, open_client


@pytest.fixture
async def client(module_url: str) -> AsyncIterator[Client]:
    client = await open_client(module_url, deadline_s=60.0)
    await client.execute("FLUSHALL")
    yield client
    await client.close()


async def test_a_server_without_the_module_is_named_at_the_start(store: Client, store_url: str, tmp_path: Path) -> None:
    with pytest.raises(SearchModuleMissing, match="has no search module"):
        await ModuleSearch(store).open()
    settings = Settings(data_dir=tmp_path, search="module")
    async with AsyncExitStack() as stack:
        with pytest.raises(CannotStart, match=r"--search module: the server .* has no search module.*--search-url"):
            await compose.open_catalog(settings, StoreAddress(store_url, is_embedded=False), stack)


async def test_the_server_of_the_search_may_be_another_one_than_the_store(
    store: Client, store_url: str, module_url: str, client: Client, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, search="module", search_url=module_url)
    async with AsyncExitStack() as stack:
        address = StoreAddress(store_url, is_embedded=False)
        catalog, search = await compose.open_catalog(settings, address, stack)
        row = CatalogRow(Sku("A"), "RED LAMP", 500, "GBP", 3)
        await catalog.put([row])
        await search.upsert([row])
        assert (await search.page(limit=1, q="lamp")).skus == ["A"]
    assert await store.execute("EXISTS", "search:p:A") == 0
    assert await client.execute("EXISTS", "search:p:A") == 1


async def test_an_index_is_opened_by_many_processes_and_survives_them(client: Client) -> None:
    first, second = ModuleSearch(client), ModuleSearch(client)
    await first.open()
    await second.open()
    await first.upsert([CatalogRow(Sku("A"), "RED LAMP")])
    assert (await second.page(limit=1, q="lamp")).skus == ["A"]


async def test_a_search_over_its_time_budget_continues_at_its_cursor(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_search, "FIRST_WINDOW", 10)
    monkeypatch.setattr(module_search, "MAX_WINDOW", 10)
    monkeypatch.setattr(module_search, "CHUNK", 3)
    search = ModuleSearch(client, budget_s=0.0, clock=itertools.count().__next__)
    await search.open()
    names = ["LEFT RIGHT" if number in {5, 25, 26, 27, 99} else "LEFT" for number in range(100)]
    await search.upsert([CatalogRow(Sku(f"S{number}"), name, number, "GBP") for number, name in enumerate(names)])
    for q, only, skus in [
        ("right left", None, ["S5", "S25", "S26", "S27", "S99"]),
        ("igh", None, ["S5", "S25", "S26", "S27", "S99"]),
        ("eft", ProductFilter(None, "GBP", 26, 27), ["S26", "S27"]),
        (None, ProductFilter(None, "GBP", 98), ["S98", "S99"]),
    ]:
        pages = [await search.page(limit=2, q=q, only=only)]
        while (cursor := pages[-1].next_cursor) is not None:
            pages.append(await search.page(limit=2, q=q, only=only, cursor=cursor))
        assert [sku for page in pages for sku in page.skus] == skus
        assert len(pages) >= 10
        assert max(len(page.skus) for page in pages) <= 2


async def test_a_server_that_is_away_is_an_unavailable_search(client: Client) -> None:
    search = ModuleSearch(client)
    await search.open()
    await client.close()
    with pytest.raises(SearchUnavailable):
        await search.page(limit=1)
    with pytest.raises(SearchUnavailable):
        await search.upsert([CatalogRow(Sku("A"), "RED")])
    with pytest.raises(SearchUnavailable):
        await search.has_imported("digest")

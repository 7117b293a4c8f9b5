"""The search on OpenSearch: how it is opened, its failures, its batches and its time budget."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from cart.catalog import opensearch
from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.opensearch import OpenSearch
from cart.catalog.opensearch_http import AiohttpTransport
from cart.catalog.ports import SearchUnavailable
from cart.model import Sku
from gateway import compose
from gateway.compose.catalog import open_search
from gateway.prerequisites import CannotStart, StoreAddress
from gateway.settings import Settings
from store import Client
from tests.opensearch_stand_in import OpenSearchStandIn, opensearch_server

NO_STORE = StoreAddress("redis://127.0.0.1:1", is_embedded=False)
LAMP = CatalogRow(Sku("A/b é"), "RED LAMP", 500, "GBP", 1, "Lighting")


@pytest.fixture
def server() -> OpenSearchStandIn:
    return OpenSearchStandIn()


@pytest.fixture
async def url(server: OpenSearchStandIn) -> AsyncIterator[str]:
    async with opensearch_server(server) as url:
        yield url


@pytest.fixture
async def transport(url: str) -> AsyncIterator[AiohttpTransport]:
    async with aiohttp.ClientSession() as session:
        yield AiohttpTransport(session, url, deadline_s=60.0)


async def opened(transport: AiohttpTransport, **options: object) -> OpenSearch:
    search = OpenSearch(transport, **{"budget_s": 60.0, **options})  # type: ignore[arg-type]
    await search.open()
    return search


def settings(folder: Path, url: str | None) -> Settings:
    return Settings(data_dir=folder, search="opensearch", search_url=url)


async def test_an_index_is_shared_by_all_that_open_it(transport: AiohttpTransport) -> None:
    first, second = await opened(transport), await opened(transport)
    await first.upsert([LAMP])
    assert (await second.page(limit=1, q="lamp")).skus == [LAMP.sku]
    assert (await second.page(limit=1, q="A/b é")).skus == [LAMP.sku]


async def test_a_large_import_goes_in_batches(transport: AiohttpTransport, server: OpenSearchStandIn) -> None:
    search = await opened(transport)
    await search.upsert([CatalogRow(Sku(f"S{number}"), "LAMP") for number in range(2500)])
    assert server.requests.count("POST /peakgate-products/_bulk") == 3
    await search.upsert([CatalogRow(Sku("S1"), "LAMP", stock=5)])
    assert server.requests.count("POST /peakgate-products/_bulk") == 3, "nothing has changed"


async def test_a_number_is_given_once_although_the_last_product_was_removed(transport: AiohttpTransport) -> None:
    search = await opened(transport)
    await search.upsert([CatalogRow(Sku(name), "LAMP") for name in "ABC"])
    page = await search.page(limit=2)
    await search.remove([Sku("C")])
    await search.upsert([CatalogRow(Sku("D"), "LAMP")])
    assert (await search.page(limit=2, cursor=page.next_cursor)).skus == ["D"]


async def test_a_search_over_its_time_budget_continues_at_its_cursor(
    transport: AiohttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch, "CHUNK", 3)
    search = await opened(transport, budget_s=0.0, clock=itertools.count().__next__)
    names = ["LEFT RIGHT" if number in {5, 25, 26, 39} else "LEFT" for number in range(40)]
    await search.upsert([CatalogRow(Sku(f"S{number}"), name, number, "GBP") for number, name in enumerate(names)])
    for q, only, skus in [
        ("igh", None, ["S5", "S25", "S26", "S39"]),
        ("right left", None, ["S5", "S25", "S26", "S39"]),
        (None, ProductFilter(None, "GBP", 38), ["S38", "S39"]),
    ]:
        pages = [await search.page(limit=1, q=q, only=only)]
        while (cursor := pages[-1].next_cursor) is not None:
            pages.append(await search.page(limit=1, q=q, only=only, cursor=cursor))
        assert [sku for page in pages for sku in page.skus] == skus


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_a_server_that_fails_is_an_unavailable_search(
    transport: AiohttpTransport, server: OpenSearchStandIn, status: int
) -> None:
    search = await opened(transport)
    await search.upsert([LAMP])
    server.fail_with = status
    with pytest.raises(SearchUnavailable, match=str(status)):
        await search.page(limit=1, q="lamp")
    with pytest.raises(SearchUnavailable):
        await search.upsert([CatalogRow(LAMP.sku, "BLUE LAMP")])
    server.fail_with = None
    assert (await search.page(limit=1, q="lamp")).skus == [LAMP.sku]


async def test_a_batch_of_which_products_are_refused_fails(
    transport: AiohttpTransport, server: OpenSearchStandIn
) -> None:
    search = await opened(transport)
    server.bulk_status = 429
    with pytest.raises(SearchUnavailable, match="refused 1 products"):
        await search.upsert([LAMP])
    server.bulk_status = None
    await search.upsert([LAMP])
    assert (await search.page(limit=1, q="lamp")).skus == [LAMP.sku]


async def test_a_server_that_is_not_reached_or_does_not_answer_is_an_unavailable_search(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        away = OpenSearch(AiohttpTransport(session, "http://127.0.0.1:1", deadline_s=60.0))
        with pytest.raises(SearchUnavailable):
            await away.page(limit=1)
        slow = OpenSearch(AiohttpTransport(session, url, deadline_s=1e-9))
        with pytest.raises(SearchUnavailable):
            await slow.page(limit=1)


async def test_the_catalogue_is_imported_into_it_by_the_settings(
    store: Client, store_url: str, url: str, tmp_path: Path
) -> None:
    await store.execute("PING")
    async with AsyncExitStack() as stack:
        address = StoreAddress(store_url, is_embedded=False)
        _, search = await compose.open_catalog(settings(tmp_path, url), address, stack)
        await search.upsert([LAMP])
        shown = await open_search(settings(tmp_path, url), NO_STORE, stack, deadline_s=1.0)
        assert (await shown.position(), await shown.has_imported("digest")) == ("", False)
        assert (await search.page(limit=1, q="lamp")).skus == [LAMP.sku]
    assert not (tmp_path / "search.sqlite3").exists(), "no index in the data directory"


async def test_a_wrong_password_ends_the_start_and_the_right_one_is_sent(tmp_path: Path) -> None:
    server = OpenSearchStandIn(user="till", password="p@ss")
    async with opensearch_server(server) as url, AsyncExitStack() as stack:
        with pytest.raises(CannotStart, match="401"):
            await open_search(settings(tmp_path, url), NO_STORE, stack, deadline_s=1.0, is_import=True)
        signed = url.replace("http://", "http://till:p%40ss@")
        search = await open_search(settings(tmp_path, signed), NO_STORE, stack, deadline_s=1.0, is_import=True)
        assert await search.position() == ""


async def test_a_process_starts_without_its_server_and_an_import_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = settings(tmp_path, "http://127.0.0.1:1")
    async with AsyncExitStack() as stack:
        search = await open_search(away, NO_STORE, stack, deadline_s=1.0)
        assert "there is no product search for now" in caplog.text
        with pytest.raises(SearchUnavailable):
            await search.page(limit=1)
        with pytest.raises(CannotStart, match="--search opensearch"):
            await open_search(away, NO_STORE, stack, deadline_s=1.0, is_import=True)


@pytest.mark.parametrize(
    ("search", "url"),
    [("opensearch", None), ("opensearch", "redis://search:6379"), ("module", "http://search:9200")],
)
async def test_an_address_of_another_kind_of_server_ends_the_start(
    tmp_path: Path, search: str, url: str | None
) -> None:
    wrong = Settings(data_dir=tmp_path, search=search, search_url=url)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        with pytest.raises(CannotStart, match="--search-url"):
            await open_search(wrong, NO_STORE, stack, deadline_s=1.0)

"""The catalogue and its search index."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import Final

import aiohttp

from cart.catalog.module_search import ModuleSearch
from cart.catalog.opensearch import OpenSearch, SearchRefused
from cart.catalog.opensearch_http import AiohttpTransport
from cart.catalog.ports import ProductSearch, SearchUnavailable
from cart.catalog.redis_catalog import RedisCatalog
from cart.catalog.sqlite_search import SqliteSearch
from cart.model import Sku
from checkout.cards.search import is_card_number_in
from gateway.prerequisites import BLOCKING_DEADLINE_S, CannotStart, StoreAddress, check_data_dir, open_store
from gateway.settings import Settings
from store import is_cluster

_log = logging.getLogger(__name__)

# Of a call of OpenSearch: a page; a batch of an import, which waits for its refresh.
PAGE_DEADLINE_S: Final = 1.0
IMPORT_DEADLINE_S: Final = 30.0
# Calls of one worker at a time; others wait within their deadline.
MAX_CONNECTIONS: Final = 32

_NEEDS_MODULE: Final = (
    "--search module: {}. Load the module into the server (Redis 8 and Redis Stack have it, Valkey has valkey-search), name another "
    "server with --search-url, or use --search sqlite"
)


async def open_catalog(
    settings: Settings, store: StoreAddress, stack: AsyncExitStack
) -> tuple[RedisCatalog, ProductSearch]:
    """The catalogue and the search index that an import writes to. Raises `CannotStart`."""
    client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
    return RedisCatalog(client), await open_search(
        settings, store, stack, deadline_s=BLOCKING_DEADLINE_S, is_import=True
    )


def sku_fault(sku: Sku) -> str | None:
    """Why no request can name a SKU, beyond what a path can hold; None if one can."""
    return "is a card number, which no request may hold" if is_card_number_in(sku) else None


async def open_search(
    settings: Settings, store: StoreAddress, stack: AsyncExitStack, *, deadline_s: float, is_import: bool = False
) -> ProductSearch:
    """The search index of the settings. `deadline_s` is for each call of a store. Raises `CannotStart`.

    Without OpenSearch a process starts all the same, because the shop does not depend on it; an import does not.
    """
    is_http = (settings.search_url or "").startswith("http")
    if settings.search == "opensearch":
        if not is_http:
            raise CannotStart("--search opensearch needs a --search-url such as https://user:password@search:9200")
        return await _open_opensearch(settings.search_url or "", stack, is_import=is_import)
    if settings.search == "module":
        if is_http:
            raise CannotStart("--search module needs a --search-url such as redis://search:6379")
        return await _open_module(settings.search_url or store.url, stack, deadline_s)
    check_data_dir(settings.data_dir)
    search = SqliteSearch(settings.data_dir / "search.sqlite3")
    await search.open()
    stack.push_async_callback(search.close)
    return search


async def _open_module(url: str, stack: AsyncExitStack, deadline_s: float) -> ProductSearch:
    client = await open_store(url, stack, deadline_s=deadline_s)
    if is_cluster(client):
        raise CannotStart("--search module needs one server, not a cluster: name one with --search-url")
    search = ModuleSearch(client)
    try:
        await search.open()
    except SearchUnavailable as error:
        raise CannotStart(_NEEDS_MODULE.format(error)) from error
    return search


async def _open_opensearch(url: str, stack: AsyncExitStack, *, is_import: bool) -> ProductSearch:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
    deadline_s = IMPORT_DEADLINE_S if is_import else PAGE_DEADLINE_S
    search = OpenSearch(AiohttpTransport(await stack.enter_async_context(session), url, deadline_s=deadline_s))
    try:
        await search.open()
    except SearchRefused as error:
        raise CannotStart(f"--search opensearch: {error}") from error
    except SearchUnavailable as error:
        if is_import:
            raise CannotStart(f"--search opensearch: {error}") from error
        _log.warning("there is no product search for now: %s", error)
    return search

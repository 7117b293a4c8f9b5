"""A whole gateway on a store of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog
from cart.catalog.sqlite_search import SqliteSearch
from cart.model import Sku
from gateway import compose
from gateway.prerequisites import StoreAddress, check_store
from gateway.settings import Settings
from store import Client, open_client
from store.embedded import EmbeddedServer
from tests.integration.gateway.resilience.shopping import POLICIES, SKU, Shop
from tests.search_module import module_url  # noqa: F401  fixture
from tests.small_disk import disk  # noqa: F401  fixture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store has its data."""
    return tmp_path


@pytest.fixture
def own_server(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def operator(own_server: EmbeddedServer) -> AsyncIterator[Client]:
    client = await open_client(own_server.url, deadline_s=5.0)
    yield client
    await client.close()


@pytest.fixture
async def shop(own_server: EmbeddedServer, operator: Client, tmp_path: Path) -> AsyncIterator[Shop]:
    row = CatalogRow(Sku(SKU), "a mug", 255, "GBP", 1000)
    await RedisCatalog(operator).put([row])
    async with AsyncExitStack() as stack:
        search = SqliteSearch(tmp_path / "search.sqlite3")
        await search.open()
        await search.upsert([row])
        await search.close()
        settings = Settings(data_dir=tmp_path, policies=POLICIES, workers=1)
        address = StoreAddress(own_server.url, is_embedded=True)
        await check_store(settings, address)
        gateway = await compose.gateway(settings, address, stack, worker_name="s:0a")
        server = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
        stack.push_async_callback(gateway.edge.drain, 0.0)
        stack.callback(server.close)
        yield Shop(gateway, server.sockets[0].getsockname()[1])

"""Fixtures of all tests: one embedded server for the session, or the one that PEAKGATE_TEST_STORE_URL names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from store import Client, open_client
from store.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that the tests may empty."""
    if url := os.environ.get("PEAKGATE_TEST_STORE_URL"):
        yield url
        return
    server = EmbeddedServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Client]:
    """A client of an empty store."""
    client = await open_client(store_url, deadline_s=5.0)
    await client.execute("FLUSHALL")
    yield client
    await client.close()

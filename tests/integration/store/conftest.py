from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from store.embedded import EmbeddedServer
from tests.small_disk import disk  # noqa: F401  fixture


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """On the event loop that the workers run on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that the test may stop, kill and configure."""
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    yield server
    server.stop()

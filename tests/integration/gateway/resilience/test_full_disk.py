"""A whole gateway whose embedded store has no disk left: it serves reads, and says why it refuses writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store.embedded import EmbeddedServer
from tests.integration.gateway.resilience.shopping import SKU, Shop
from tests.small_disk import fill, make_room
from tests.waiting import until

FULL = "the store cannot write to its disk (it is almost full): reads go on, carts and orders are refused until it can"


@pytest.fixture
def folder(disk: Path) -> Path:
    """Where the store has its data."""
    return disk


@pytest.fixture
async def supervised(own_server: EmbeddedServer) -> AsyncIterator[None]:
    """The supervisor looks after the store."""

    async def supervise() -> None:
        while True:
            own_server.revive()
            await asyncio.sleep(0.05)

    supervising = asyncio.create_task(supervise())
    yield
    supervising.cancel()
    await asyncio.wait([supervising])


@pytest.mark.usefixtures("supervised")
async def test_reads_are_served_and_writes_refused_with_the_reason_until_there_is_room(
    shop: Shop,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cart = await shop.cart()
    line = {"sku": SKU, "quantity": 1}
    add = ("POST", f"/v1/carts/{cart}/lines", line)
    fill(folder)
    status = 200
    while status == 200:
        status = (await shop.call(*add)).status
    assert (await shop.readiness())[1:] == ("degraded", FULL)
    for _ in range(50):
        assert (await shop.call("GET", f"/v1/carts/{cart}")).status == 200
        refused = await shop.call(*add)
        assert refused.status == 503
        assert refused.json()["detail"].startswith("The store cannot write to its disk: reads go on, carts and")
    make_room(folder)
    while status != 200:
        status = (await shop.call(*add)).status
    await until(lambda: "has room again" in caplog.text)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    # The gateway notices it, or the server does, which ends then and is started again.
    noticed, room = [line for line in lines if "because it could not write to its disk" not in line]
    assert noticed == FULL
    assert "has room again" in room

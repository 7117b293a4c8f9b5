"""A whole gateway whose embedded store has no disk left: it serves reads, and says why it refuses writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
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
async def supervise(own_server: EmbeddedServer) -> AsyncIterator[Callable[[], None]]:
    """Starts the supervisor that looks after the store."""
    tasks: list[asyncio.Task[None]] = []

    async def supervising() -> None:
        while True:
            own_server.revive()
            await asyncio.sleep(0.05)

    def start() -> None:
        own_server.revive()
        tasks.append(asyncio.create_task(supervising()))

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("ends", [False, True], ids=["it is noticed in time", "the server ends of it"])
async def test_reads_are_served_and_writes_refused_with_the_reason_until_there_is_room(
    shop: Shop,
    folder: Path,
    supervise: Callable[[], None],
    own_server: EmbeddedServer,
    caplog: pytest.LogCaptureFixture,
    ends: bool,
) -> None:
    cart = await shop.cart()
    line = {"sku": SKU, "quantity": 1}
    add = ("POST", f"/v1/carts/{cart}/lines", line)
    fill(folder)
    if ends:
        while not has_ended(own_server):
            await shop.call(*add)
    supervise()
    # A server that ended of it is away until it runs again, so that readiness has another reason first.
    while (await shop.readiness())[1:] != ("degraded", FULL):
        await shop.call(*add)
    for _ in range(50):
        assert (await shop.call("GET", f"/v1/carts/{cart}")).status == 200
        refused = await shop.call(*add)
        assert refused.status == 503
        assert refused.json()["detail"].startswith("The store cannot write to its disk: reads go on, carts and")
    make_room(folder)
    assert (await shop.until_answered(*add)).status == 200
    await until(lambda: "has room again" in caplog.text)
    said = [record.getMessage() for record in caplog.records if record.name == "peakgate"]
    assert said.count(FULL) == 1
    assert sum("has room again" in line for line in said) == 1
    assert sum("because it could not write to its disk" in line for line in said) <= 1


def has_ended(server: EmbeddedServer) -> bool:
    """Whether the process of the server has ended, also where nobody has waited for it yet."""
    return server.pid is None or Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

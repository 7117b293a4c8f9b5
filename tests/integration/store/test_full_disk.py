"""The embedded server on a small disk that is full: it goes on, or comes back, and serves reads."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from store import Client, StoreError, StoreUnavailable, open_client
from store.embedded import EmbeddedServer
from tests.small_disk import fill, make_room
from tests.waiting import until


@pytest.fixture
def server(disk: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(disk / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[Client]:
    client = await open_client(server.url, deadline_s=1.0)
    await client.execute("SET", "kept", "value")
    yield client
    await client.close()


async def can_write(client: Client, size: int = 1) -> bool:
    try:
        await client.probe()
        await client.execute("SET", "more", bytes(size))
    except StoreError:
        return False
    return True


async def test_a_server_whose_disk_becomes_full_serves_reads_and_takes_writes_again(
    server: EmbeddedServer, client: Client, disk: Path
) -> None:
    pid = server.pid
    fill(disk)
    assert server.revive() is None
    for _ in range(100):
        with pytest.raises(StoreUnavailable) as refused:
            await client.execute("SET", "more", bytes(4096))
        assert refused.value.reason.is_full
        assert await client.execute("GET", "kept") == b"value"
    make_room(disk)

    def revived() -> bool:
        server.revive()
        return True

    while not await can_write(client):
        await until(revived)
    assert server.pid == pid
    assert (await client.execute("CONFIG", "GET", "appendfsync"))[b"appendfsync"] == b"always"


async def test_a_server_whose_file_cannot_grow_comes_back_and_takes_writes_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Needs no disk of its own."""
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    try:
        client = await open_client(server.url, deadline_s=1.0)
        await client.execute("SET", "kept", "value")
        first = server.pid
        assert first is not None
        resource.prlimit(first, resource.RLIMIT_FSIZE, (20_000, 20_000))
        while await can_write(client, 4096):
            pass
        while not await can_write(client, 4096):
            server.revive()
        assert server.pid != first
        assert "because it could not write to its disk" in caplog.text
        assert await client.execute("GET", "kept") == b"value"
        await client.close()
    finally:
        server.stop()


async def test_a_server_that_ends_because_its_disk_is_full_comes_back_and_serves_reads(
    server: EmbeddedServer, client: Client, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = server.pid
    fill(disk)
    while await can_write(client, 4096):  # until the file does not fit: nobody looks after the server
        pass

    async def reads() -> bool:
        server.revive()
        try:
            return bool(await client.execute("GET", "kept") == b"value")
        except StoreError:
            return False

    while not await reads():
        pass
    assert server.pid != first
    assert "because it could not write to its disk" in caplog.text
    for _ in range(100):
        assert not await can_write(client, 4096)
        assert await client.execute("GET", "kept") == b"value"
    second = server.pid
    make_room(disk)
    while not await can_write(client):
        server.revive()
    assert server.pid == second

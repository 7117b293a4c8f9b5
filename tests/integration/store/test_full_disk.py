"""The embedded server on a small disk that is full: it goes on, or comes back, and serves reads."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from store import Client, Script, StoreError, StoreUnavailable, open_client
from store.embedded import EmbeddedServer
from tests.small_disk import fill, make_room
from tests.waiting import WITHIN_S

# Finishes work that was accepted before: it may use what is held back.
FINISH = Script("#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], ARGV[1])")


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


async def supervised(server: EmbeddedServer, condition: Callable[[], Awaitable[bool]]) -> None:
    """Look after the server until the condition is true."""
    end_s = time.monotonic() + WITHIN_S
    while not await condition():
        assert time.monotonic() < end_s, "the condition did not become true"
        server.revive()


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
    await supervised(server, partial(can_write, client))
    assert server.pid == pid
    assert (await client.execute("CONFIG", "GET", "appendfsync"))[b"appendfsync"] == b"always"


async def test_a_file_that_could_not_take_a_write_is_read_again(
    server: EmbeddedServer, client: Client, disk: Path
) -> None:
    """Valkey does not append to the file that a rewrite made: what follows a write that failed there would leave a hole."""
    await client.execute("BGREWRITEAOF")
    while b"aof_rewrite_in_progress:0" not in await client.execute("INFO", "persistence"):
        pass
    # The file has a page that is not full, so that a part of the next write fits.
    await client.execute("SET", "kept", "value")
    fill(disk)
    assert server.revive() is None
    written: list[int] = []

    async def write() -> bool:
        try:
            await client.run(FINISH, [f"n:{len(written)}"], [b"x" * 5000])
        except StoreError:
            return False
        written.append(len(written))
        return True

    while await write():  # until what was held back is used up
        pass
    make_room(disk)
    await supervised(server, partial(can_write, client))
    assert await write()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await supervised(server, partial(can_write, client))
    assert await client.execute("EXISTS", *(f"n:{number}" for number in written)) == len(written) > 0


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
        await supervised(server, partial(can_write, client, 4096))
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
        try:
            return bool(await client.execute("GET", "kept") == b"value")
        except StoreError:
            return False

    await supervised(server, reads)
    assert server.pid != first
    assert "because it could not write to its disk" in caplog.text
    for _ in range(100):
        assert not await can_write(client, 4096)
        assert await client.execute("GET", "kept") == b"value"
    second = server.pid
    make_room(disk)
    await supervised(server, partial(can_write, client))
    assert server.pid == second

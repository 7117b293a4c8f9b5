"""The client across a failover: a primary becomes a replica, is killed or hangs, and its address leads elsewhere."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.forwarder import Forwarder
from benchmarks.harness.store_pair import StoreServer, store_pair
from checkout.redis.durability import AofWait
from store import Client, Reason, Script, StoreError, StoreUnavailable, handshake, open_client
from store.subscriber import Subscriber
from tests.waiting import WITHIN_S, until, wait_until

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[StoreServer, StoreServer]]:
    with store_pair(tmp_path, "--appendonly", "yes") as servers:
        yield servers


@pytest.fixture
def address(pair: tuple[StoreServer, StoreServer]) -> Iterator[Forwarder]:
    """An address that leads to the first server until it is changed."""
    with Forwarder(pair[0].port) as forwarder:
        yield forwarder


@pytest.fixture
async def client(address: Forwarder) -> AsyncIterator[Client]:
    opened = await open_client(url_of(address))
    yield opened
    await opened.close()


def url_of(address: Forwarder) -> str:
    return f"redis://127.0.0.1:{address.port}"


async def first_success(call: Any) -> Any:
    """The first reply of a call that is repeated while the store is unavailable."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


async def blocked_on(server: StoreServer) -> None:
    """Wait until a client of the server is held back."""
    await asyncio.to_thread(wait_until, lambda: server.info("clients")["blocked_clients"])


async def test_after_a_planned_failover_kept_connections_are_given_up_for_the_new_primary(
    pair: tuple[StoreServer, StoreServer], address: Forwarder, client: Client
) -> None:
    first, second = pair
    await client.execute("SET", "n", 1)
    await asyncio.to_thread(first.fail_over)
    address.retarget(second.port)
    with pytest.raises(StoreUnavailable) as refused:
        await client.run(ADD, ["n"], [1])
    assert refused.value.reason is Reason.READONLY
    assert not refused.value.may_have_run
    assert await first_success(lambda: client.run(ADD, ["n"], [1])) == 2
    assert second.command("GET", "n") == b"2"


async def test_a_read_held_back_on_the_old_primary_continues_on_the_new_one(
    pair: tuple[StoreServer, StoreServer], address: Forwarder, client: Client
) -> None:
    first, second = pair
    await client.execute("XGROUP", "CREATE", "stream", "group", "$", "MKSTREAM")
    read = ("XREADGROUP", "GROUP", "group", "me", "BLOCK", 30_000, "STREAMS", "stream", ">")
    held_back = client.execute_blocking(*read, timeout_s=30)
    await blocked_on(first)
    address.retarget(second.port)
    await asyncio.to_thread(first.fail_over)
    with pytest.raises(StoreUnavailable) as ended:
        await held_back
    assert ended.value.reason is Reason.READONLY
    next_read = asyncio.ensure_future(first_success(lambda: client.execute_blocking(*read, timeout_s=30)))
    await blocked_on(second)
    second.command("XADD", "stream", "*", "field", "value")
    assert b"stream" in await next_read


async def test_the_connection_of_durable_writes_follows_the_primary(
    pair: tuple[StoreServer, StoreServer], address: Forwarder
) -> None:
    first, second = pair
    client = await open_client(url_of(address), deadline_s=5.0)
    durability = AofWait(client)
    assert await durability.write(ADD, ["n"], [1]) == (1, True)
    await asyncio.to_thread(first.fail_over)
    address.retarget(second.port)
    assert await first_success(lambda: durability.write(ADD, ["n"], [1])) == (2, True)
    await client.close()


async def test_the_subscriber_of_notices_follows_the_client(
    pair: tuple[StoreServer, StoreServer], address: Forwarder, client: Client
) -> None:
    first, second = pair
    subscriber = Subscriber(url_of(address))
    client.on_moved(subscriber.reconnect)
    heard: list[int] = []
    subscriber.listen("channel", lambda: heard.append(1))
    running = asyncio.ensure_future(subscriber.run())
    await until(lambda: heard)
    await asyncio.to_thread(first.fail_over)
    address.retarget(second.port)
    # The old primary answers still, and knows of nothing that is published on the new one.
    first.command("REPLICAOF", "127.0.0.1", 1)
    await first_success(client.probe)
    await until(lambda: len(heard) == 2)
    await client.execute("SPUBLISH", "channel", "notice")
    await until(lambda: len(heard) == 3)
    running.cancel()
    await asyncio.wait([running])


async def test_a_killed_primary_is_replaced_by_its_promoted_replica(
    pair: tuple[StoreServer, StoreServer], address: Forwarder, client: Client
) -> None:
    first, second = pair
    await client.execute("SET", "n", 1)
    first.command("WAIT", 1, 0)
    await asyncio.to_thread(first.kill)
    address.retarget(second.port)
    # Until its promotion the replica is no store: neither a write nor a stale read may reach it.
    with pytest.raises(StoreUnavailable):
        await client.execute("GET", "n")
    await asyncio.to_thread(second.promote)
    assert await first_success(lambda: client.run(ADD, ["n"], [1])) == 2


async def test_a_primary_that_hangs_is_replaced(
    pair: tuple[StoreServer, StoreServer], address: Forwarder, client: Client
) -> None:
    first, second = pair
    first.signal(signal.SIGSTOP)
    address.retarget(second.port)
    await asyncio.to_thread(second.promote)
    assert await first_success(lambda: client.run(ADD, ["n"], [1])) == 1
    assert second.command("GET", "n") == b"1"


async def test_a_replica_is_refused_at_the_start_with_its_reason(
    pair: tuple[StoreServer, StoreServer],
) -> None:
    with pytest.raises(StoreError, match="is a replica") as refused:
        await Client(pair[1].url).connect()
    assert isinstance(refused.value, StoreUnavailable)
    assert refused.value.reason is Reason.READONLY


async def test_a_start_during_a_failover_waits_for_the_primary(pair: tuple[StoreServer, StoreServer]) -> None:
    opening = asyncio.ensure_future(open_client(pair[1].url))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(pair[1].promote)
    client = await opening
    await client.probe()
    await client.close()


async def test_of_the_addresses_of_a_name_the_primary_is_chosen(
    pair: tuple[StoreServer, StoreServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both orders: a name server rotates its answers, or does not."""
    first, second = pair
    addresses = {
        "forth": [("127.0.0.1", first.port), ("127.0.0.1", second.port)],
        "back": [("127.0.0.1", second.port), ("127.0.0.1", first.port)],
    }
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> list[tuple[str, int]]:
        asked.append(host)
        return addresses[host]

    monkeypatch.setattr(handshake, "_resolve", resolve)
    for name in addresses:
        client = await open_client(f"redis://{name}:6379")
        await client.run(ADD, ["n"], [1])
        asked.clear()
        first.command("CLIENT", "KILL", "TYPE", "normal")
        await first_success(client.probe)
        assert asked == [name]
        await client.close()
    assert first.command("GET", "n") == b"2"

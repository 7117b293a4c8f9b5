"""The client against a real server that is stopped, killed and restarted."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator

import pytest

from store import Client, Reason, ReplyError, Script, StoreTimeout, StoreUnavailable, open_client
from store.embedded import EmbeddedServer
from tests.waiting import WITHIN_S, until

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture
async def client(own_server: EmbeddedServer) -> AsyncIterator[Client]:
    opened = await open_client(own_server.url)
    yield opened
    await opened.close()


def pid_of(server: EmbeddedServer) -> int:
    assert server.pid is not None
    return server.pid


async def test_commands_scripts_and_replies_of_every_kind(client: Client) -> None:
    await client.execute("SET", "text", "vièrge")
    await client.execute("HSET", "hash", "a", 1, "b", 2.5)
    replies = await asyncio.gather(
        client.execute("GET", "text"),
        client.execute("GET", "none"),
        client.execute("HGETALL", "hash"),
        client.execute("LRANGE", "none", 0, -1),
        client.execute("INCR", "count"),
        client.run(ADD, ["count"], [41]),
        client.run(ADD, ["count"], [0]),
    )
    assert replies == ["vièrge".encode(), None, {b"a": b"1", b"b": b"2.5"}, [], 1, 42, 42]


async def test_a_flushed_script_is_loaded_again(client: Client) -> None:
    assert await client.run(ADD, ["n"], [1]) == 1
    await client.execute("SCRIPT", "FLUSH", "SYNC")
    calls = [client.run(ADD, ["n"], [1]) for _ in range(5)]
    assert sorted(await asyncio.gather(*calls)) == [2, 3, 4, 5, 6]


async def test_an_error_reply_fails_only_its_call(client: Client) -> None:
    await client.execute("SET", "text", "x")
    refused, fine = client.execute("INCR", "text"), client.execute("GET", "text")
    with pytest.raises(ReplyError, match="not an integer"):
        await refused
    assert await fine == b"x"


async def test_a_reply_of_many_megabytes_is_complete(client: Client) -> None:
    big = bytes(random.Random(1).randbytes(8_000_000))
    slow = Client(client._url, deadline_s=30.0)
    await slow.connect()
    await slow.execute("SET", "big", big)
    behind = [slow.execute("GET", "big"), slow.execute("PING")]
    assert await asyncio.gather(*behind) == [big, b"PONG"]
    await slow.close()


async def test_cancelled_calls_do_not_shift_the_replies_of_others(own_server: EmbeddedServer) -> None:
    client = await open_client(own_server.url, deadline_s=0.02)
    chance = random.Random(11)
    outcomes: dict[str, int] = {"answered": 0, "gave up": 0}

    async def caller(n: int) -> None:
        await asyncio.sleep(chance.uniform(0, 0.5))
        try:
            async with asyncio.timeout(chance.choice([0, 0.001, 10])):
                reply = await client.execute("ECHO", n)
        except (TimeoutError, StoreTimeout):
            outcomes["gave up"] += 1
        else:
            assert reply == b"%d" % n
            outcomes["answered"] += 1

    async def pause_the_server() -> None:
        while True:
            os.kill(pid_of(own_server), signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(0.01, 0.12))
            os.kill(pid_of(own_server), signal.SIGCONT)
            await asyncio.sleep(0.03)

    pausing = asyncio.create_task(pause_the_server())
    await asyncio.gather(*(caller(n) for n in range(3_000)))
    pausing.cancel()
    os.kill(pid_of(own_server), signal.SIGCONT)
    await client.close()
    assert min(outcomes.values()) > 10, outcomes


async def test_calls_time_out_while_the_server_is_paused_and_succeed_afterwards(
    own_server: EmbeddedServer, client: Client
) -> None:
    os.kill(pid_of(own_server), signal.SIGSTOP)
    calls = [client.execute("INCR", "n") for _ in range(3)]
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, StoreTimeout)
        assert outcome.may_have_run
    os.kill(pid_of(own_server), signal.SIGCONT)
    # What timed out has run all the same: the late replies are dropped, and none is taken for another's.
    assert await client.execute("GET", "n") == b"3"


async def test_the_client_reconnects_to_a_server_that_hung(own_server: EmbeddedServer, client: Client) -> None:
    os.kill(pid_of(own_server), signal.SIGSTOP)
    with pytest.raises(StoreTimeout):
        await client.execute("INCR", "n")
    await until(lambda: not client.is_connected)
    with pytest.raises(StoreUnavailable) as caught:
        await client.execute("INCR", "n")
    assert not caught.value.may_have_run
    os.kill(pid_of(own_server), signal.SIGCONT)
    await until(lambda: client.is_connected)
    assert await client.execute("GET", "n") == b"1"


async def test_a_store_that_is_full_answers_pings_and_reads_and_fails_the_probe(client: Client) -> None:
    await client.probe()
    await client.execute("SET", "stored", "yes")
    await client.execute("CONFIG", "SET", "maxmemory", 1)
    assert await client.ping() == b"PONG"
    with pytest.raises(StoreUnavailable) as full:
        await client.probe()
    assert full.value.reason is Reason.FULL_MEMORY
    assert not full.value.may_have_run
    with pytest.raises(StoreUnavailable, match="OOM"):
        await client.run(ADD, ["n"], [1])
    assert await client.execute("GET", "stored") == b"yes"
    assert client.is_connected
    await client.execute("CONFIG", "SET", "maxmemory", 0)
    await client.probe()


async def test_a_killed_server_fails_the_sent_calls_and_serves_again_after_its_restart(
    own_server: EmbeddedServer, client: Client
) -> None:
    await client.execute("SET", "kept", "yes")
    os.kill(pid_of(own_server), signal.SIGSTOP)
    sent = client.execute("INCR", "n")
    await asyncio.sleep(0)
    os.kill(pid_of(own_server), signal.SIGKILL)
    with pytest.raises(StoreUnavailable) as caught:
        await sent
    assert caught.value.may_have_run
    await until(lambda: not client.is_connected)
    with pytest.raises(StoreUnavailable) as caught:
        await client.execute("INCR", "n")
    assert not caught.value.may_have_run
    await until(lambda: own_server.revive() is None and client.is_connected)
    assert await client.execute("GET", "kept") == b"yes"
    assert await client.execute("GET", "n") is None


async def test_a_connection_that_the_server_closes_is_replaced(client: Client) -> None:
    own_id = await client.execute("CLIENT", "ID")
    admin = await open_client(client._url)
    assert await admin.execute("CLIENT", "KILL", "ID", own_id) == 1
    await until(lambda: not client.is_connected)
    await until(lambda: client.is_connected)
    assert await client.execute("CLIENT", "ID") != own_id
    await admin.close()


async def test_closing_ends_the_connection(own_server: EmbeddedServer, client: Client) -> None:
    other = await open_client(own_server.url)
    waiting = other.execute_blocking("BLPOP", "nothing", 30, timeout_s=30.0)
    await asyncio.sleep(0)
    await other.close()
    with pytest.raises(StoreUnavailable):
        await waiting

    connections = 0
    async with asyncio.timeout(WITHIN_S):
        while connections != 1:
            connections = len((await client.execute("CLIENT", "LIST")).splitlines())

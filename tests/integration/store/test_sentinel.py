"""The store behind Sentinels: found by them, and followed when they promote the replica."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from checkout.redis.durability import ReplicaWait
from store import Client, Script, StoreError, StoreUnavailable, open_client
from store.exchange import exchange
from store.sentinel import Address, SentinelAddress
from store.subscriber import Subscriber
from tests.sentinels import Sentinel, Watched, watched_pair
from tests.waiting import WITHIN_S, until

ENTER = Script("return redis.call('SADD', KEYS[1], ARGV[1])")


# The address


@pytest.mark.parametrize(
    ("url", "sentinels", "store"),
    [
        ("redis+sentinel://a:1,b,c:3/till", ["redis://a:1", "redis://b:26379", "redis://c:3"], "redis://h:6379"),
        ("rediss+sentinel://a/till", ["rediss://a:26379"], "rediss://h:6379"),
        (
            "redis+sentinel://u:p%2F@a/till/3?client_name=x",
            ["redis://a:26379"],
            "redis://u:p%2F@h:6379/3?client_name=x",
        ),
        (
            "rediss+sentinel://[::1]:7/till?sentinel_username=s&sentinel_password=%40%2F&ssl_ca_certs=%2Fca",
            ["rediss://s:%40%2F@[::1]:7?ssl_ca_certs=%2Fca"],
            "rediss://h:6379?ssl_ca_certs=%2Fca",
        ),
        ("redis+sentinel://a/till?sentinel_password=b", ["redis://:b@a:26379"], "redis://h:6379"),
    ],
)
def test_an_address_names_sentinels_and_what_is_known_of_the_primary(
    url: str, sentinels: list[str], store: str
) -> None:
    address = SentinelAddress.parse(url)
    assert address is not None
    assert (list(address.sentinels), address.name) == (sentinels, "till")
    assert address.of(("h", 6379)) == store


def test_the_address_of_a_primary_with_colons_has_brackets() -> None:
    address = SentinelAddress.parse("redis+sentinel://a/till")
    assert address is not None
    assert address.of(("::1", 1)) == "redis://[::1]:1"


@pytest.mark.parametrize("url", ["redis://a:1/0", "unix:///a/b", "rediss://a"])
def test_other_addresses_name_no_sentinels(url: str) -> None:
    assert SentinelAddress.parse(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a",
        "redis+sentinel:///till",
        "redis+sentinel://a,,b/till",
        "redis+sentinel://a:word/till",
        "redis+sentinel://:sesame/street@a/till",
    ],
)
async def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="cannot read the address of the store") as refused:
        await open_client(url)
    assert "sesame" not in str(refused.value)
    assert "word " not in str(refused.value).replace("password", "")


# What the Sentinels say


async def found(*answers: Address | Exception | None) -> str:
    """What is found where the sentinels answer so, in this order; `...` is a Sentinel that hangs."""
    address = SentinelAddress.parse(f"redis+sentinel://{','.join('abcde'[: len(answers)])}/till")
    assert address is not None
    by_host = dict(zip("abcde", answers, strict=False))

    async def ask(url: str, name: str) -> Address | None:
        assert name == "till"
        answer = by_host[url.removeprefix("redis://")[0]]
        if isinstance(answer, TimeoutError):
            await asyncio.get_running_loop().create_future()
        if isinstance(answer, Exception):
            raise answer
        return answer

    return await address.find(ask)


AWAY, HANGS = StoreUnavailable("refused"), TimeoutError()
OLD, NEW = ("old", 1), ("new", 1)


async def test_the_primary_is_the_one_that_most_sentinels_name() -> None:
    assert await found(NEW) == "redis://new:1"
    assert await found(OLD, NEW, NEW) == "redis://new:1"
    assert await found(None, NEW, AWAY) == "redis://new:1"
    assert await found(OLD, NEW, AWAY, NEW, None) == "redis://new:1"


async def test_a_sentinel_that_hangs_is_not_waited_for() -> None:
    assert await found(HANGS, NEW, NEW) == "redis://new:1"


async def test_without_an_answer_the_reason_is_said() -> None:
    with pytest.raises(StoreUnavailable, match="none of the 2 sentinels answers: refused"):
        await found(AWAY, AWAY)
    with pytest.raises(StoreUnavailable, match="no sentinel knows a primary of the name till"):
        await found(None, AWAY, None)


# With servers


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with watched_pair(tmp_path) as watched:
        yield watched
        watched.first.signal(signal.SIGCONT)


@pytest.fixture
def unmet(tmp_path: Path) -> Iterator[Watched]:
    """Sentinels that are asked only."""
    with watched_pair(tmp_path, have_met=False) as watched:
        yield watched


class Load:
    """Enters numbers in the store, each with the durability `replica`, and knows which were acknowledged."""

    def __init__(self, commits: Client) -> None:
        self._durability = ReplicaWait(commits, wait_ms=200)
        self.acknowledged: list[int] = []
        self.refused = 0

    async def run(self) -> None:
        number = 0
        while True:
            number += 1
            try:
                _, is_durable = await self._durability.write(ENTER, ["numbers"], [number])
            except StoreError:
                is_durable = False
            if is_durable:
                self.acknowledged.append(number)
            else:
                self.refused += 1
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("disaster", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_promoted_replica_is_followed_and_has_every_acknowledged_write(
    watched: Watched, disaster: signal.Signals
) -> None:
    client = await open_client(watched.url)
    commits = await open_client(watched.url, deadline_s=1.0)
    commits.accompany(client)
    subscriber = Subscriber(watched.url)
    client.on_moved(subscriber.reconnect)
    notices: list[int] = []
    subscriber.listen("channel", lambda: notices.append(1))
    load = Load(commits)
    running = [asyncio.create_task(load.run()), asyncio.create_task(subscriber.run())]
    await until(lambda: len(load.acknowledged) > 100 and notices)

    if disaster is signal.SIGKILL:
        await asyncio.to_thread(watched.first.kill)
    else:
        watched.first.signal(signal.SIGSTOP)
    before = len(notices)
    await until(lambda: promoted(watched), within_s=WITHIN_S)
    await written(client)
    # A new primary without a replica: nothing is acknowledged until the old one is back as its replica.
    refused = load.refused
    await until(lambda: load.refused > refused)
    acknowledged = list(load.acknowledged)
    if disaster is signal.SIGKILL:
        await asyncio.to_thread(watched.first.start)
    else:
        watched.first.signal(signal.SIGCONT)
    await until(lambda: len(load.acknowledged) > len(acknowledged) + 10, within_s=WITHIN_S)
    running[0].cancel()

    stored = await client.execute("SMEMBERS", "numbers")
    assert set(load.acknowledged) <= {int(each) for each in stored}
    assert watched.second.info("replication")["role"] == "master"
    await until(lambda: len(notices) > before)
    await client.execute("SPUBLISH", "channel", "notice")
    running[1].cancel()
    await asyncio.wait(running)
    await client.close()
    await commits.close()


def promoted(watched: Watched) -> bool:
    return bool(watched.second.info("replication")["role"] == "master")


async def written(client: Client) -> None:
    """Wait until the client writes again."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                await client.probe()
            except StoreError:
                await asyncio.sleep(0.02)
            else:
                return


async def test_a_planned_failover_is_followed(watched: Watched) -> None:
    client = await open_client(watched.url)
    await client.execute("SET", "key", "value")
    await asyncio.to_thread(watched.sentinels[0].command, "SENTINEL", "FAILOVER", "till")
    await until(lambda: promoted(watched), within_s=WITHIN_S)
    await until(lambda: watched.first.info("replication")["role"] == "slave", within_s=WITHIN_S)
    await written(client)
    assert watched.second.command("EXISTS", "peakgate:probe") == 1
    await client.close()


async def test_a_connection_is_had_with_a_sentinel_that_is_dead_and_without_the_others_none(unmet: Watched) -> None:
    unmet.sentinels[0].kill()
    assert await exchange(unmet.url, [("PING",)], timeout_s=WITHIN_S) == [b"PONG"]
    unmet.sentinels[1].kill()
    assert await exchange(unmet.url, [("PING",)], timeout_s=WITHIN_S) == [b"PONG"]
    unmet.sentinels[2].kill()
    with pytest.raises(StoreUnavailable, match="none of the 3 sentinels answers"):
        await exchange(unmet.url, [("PING",)], timeout_s=WITHIN_S)


async def test_a_sentinel_with_a_password_is_asked_with_it(unmet: Watched, tmp_path: Path) -> None:
    password = "sesame/#?"
    guarded = Sentinel(tmp_path / "guarded", unmet.first.port, f'requirepass "{password}"')
    try:
        url = f"redis+sentinel://127.0.0.1:{guarded.port}/till"
        with pytest.raises(StoreUnavailable, match="none of the 1 sentinels answers"):
            await exchange(url, [("PING",)], timeout_s=WITHIN_S)
        url = f"{url}?sentinel_password={quote(password, safe='')}"
        assert await exchange(url, [("PING",)], timeout_s=WITHIN_S) == [b"PONG"]
    finally:
        guarded.kill()


async def test_an_unknown_name_is_said(unmet: Watched) -> None:
    with pytest.raises(StoreUnavailable, match="no sentinel knows a primary of the name sale"):
        await exchange(unmet.url.replace("/till", "/sale"), [("PING",)], timeout_s=WITHIN_S)

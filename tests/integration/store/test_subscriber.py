"""The subscriber against a real server that is stopped, paused and restarted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from store import Script, open_client
from store.embedded import EmbeddedServer
from store.subscriber import Subscriber
from tests.waiting import until

PUBLISH = Script("return redis.call('SPUBLISH', KEYS[1], ARGV[1])")


class Heard:
    """A listener that counts its calls."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1

    async def again(self, after: int) -> None:
        await until(lambda: self.times > after)


@pytest.fixture
async def subscriber(own_server: EmbeddedServer) -> AsyncIterator[Subscriber]:
    made = Subscriber(own_server.url, ping_s=0.2)
    running = asyncio.create_task(made.run())
    await until(lambda: made.is_connected)
    yield made
    running.cancel()
    await asyncio.wait([running])
    assert not made.is_connected


async def publish(server: EmbeddedServer, channel: str) -> int:
    """Publish by a script, as adapters do; returns the number of connections that heard it."""
    client = await open_client(server.url, deadline_s=30.0)
    try:
        return int(await client.run(PUBLISH, [channel], ["x"]))
    finally:
        await client.close()


async def test_a_listener_hears_that_it_misses_nothing_and_then_each_notice(
    own_server: EmbeddedServer, subscriber: Subscriber
) -> None:
    heard, other = Heard(), Heard()
    subscriber.listen("{7f}a", heard)
    subscriber.listen("{7f}b", other)
    await heard.again(0)
    await other.again(0)
    assert await publish(own_server, "{7f}a") == 1
    await heard.again(1)
    assert other.times == 1


async def test_listeners_of_one_channel_share_a_subscription_and_the_last_one_ends_it(
    own_server: EmbeddedServer, subscriber: Subscriber
) -> None:
    first, second = Heard(), Heard()
    subscriber.listen("a", first)
    await first.again(0)
    subscriber.listen("a", second)
    await second.again(0)
    assert subscriber.channels == 1
    before = second.times
    subscriber.forget("a", first)
    await publish(own_server, "a")
    await second.again(before)
    subscriber.forget("a", second)
    assert subscriber.channels == 0
    client = await open_client(own_server.url, deadline_s=30.0)
    # The commands of two connections have no order.
    while await client.run(PUBLISH, ["a"], ["x"]):
        pass
    await client.close()


async def test_a_listener_is_called_once_the_connection_is_back(
    own_server: EmbeddedServer, subscriber: Subscriber
) -> None:
    heard = Heard()
    subscriber.listen("a", heard)
    await heard.again(0)
    own_server.stop()
    await until(lambda: not subscriber.is_connected)
    own_server.start()
    await heard.again(1)
    before = heard.times
    await publish(own_server, "a")
    await heard.again(before)


async def test_a_server_that_hangs_is_left(own_server: EmbeddedServer, subscriber: Subscriber) -> None:
    heard = Heard()
    subscriber.listen("a", heard)
    await heard.again(0)
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        await until(lambda: not subscriber.is_connected)
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    before = heard.times
    await heard.again(before)


async def test_one_without_the_permission_says_so_and_goes_on(
    own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    admin = await open_client(own_server.url, deadline_s=30.0)
    await admin.execute("ACL", "SETUSER", "quiet", "on", ">pw", "~*", "+@all", "resetchannels", "&allowed*")
    await admin.close()
    subscriber = Subscriber(own_server.url.replace("unix://", "unix://quiet:pw@"))
    running = asyncio.create_task(subscriber.run())
    allowed, refused = Heard(), Heard()
    subscriber.listen("refused", refused)
    subscriber.listen("allowed", allowed)
    await allowed.again(0)
    assert refused.times == 0
    assert "refuses a subscription" in caplog.text
    running.cancel()
    await asyncio.wait([running])

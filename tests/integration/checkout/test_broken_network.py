"""Checkouts over connections that break: before a request arrives, before its reply does, or with the request still under way."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cart.model import Cart
from checkout.errors import CheckoutInterrupted, IdempotencyKeyInProgress
from checkout.purchase import PlacedOrder
from checkout.redis.orders import RedisOrders
from checkout.redis.stock import RedisStock
from store import Client, StoreUnavailable, open_client
from tests.contract.checkout.shop import BOX, MUG, RedisShop, a_request

CARTS = 8


class BreakingProxy:
    """Forwards connections to a server, and breaks them by chance, chunk by chunk."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.is_whole = True
        self.broken = 0
        self._url = urlsplit(url)
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        self._start(self._serve(reader, writer))

    async def deliver(self) -> None:
        """Wait until every command that was under way has arrived."""
        while self._late:
            await asyncio.wait(self._late)

    async def end(self) -> None:
        """Wait until every connection has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._url.scheme == "unix":
            replies, upstream = await asyncio.open_unix_connection(self._url.path)
        else:
            replies, upstream = await asyncio.open_connection(self._url.hostname, self._url.port or 6379)
        replying = self._start(_pass_on(replies, writer))
        try:
            # Without a break in the handshake, which clients repeat ever later.
            upstream.write(await reader.read(65536))
            while data := await reader.read(65536):
                fate = "whole" if self.is_whole else self._chance.choice(FATES)
                if fate != "whole":
                    self.broken += 1
                    writer.transport.abort()
                    await self._start(self._drop(fate, data, upstream), self._late)
                    break
                upstream.write(data)
        finally:
            # The server reads what was sent before it sees the end, and closes the connection.
            upstream.write_eof()
            await asyncio.wait([replying])
            for each in (upstream, writer):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _drop(self, fate: str, data: bytes, upstream: asyncio.StreamWriter) -> None:
        if fate == "late":
            await asyncio.sleep(self._chance.random() * 0.02)
        if fate != "lost":
            upstream.write(data)

    def _start(
        self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]] | None = None
    ) -> asyncio.Task[None]:
        tasks = self._tasks if tasks is None else tasks
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task


# Of a chunk of commands: mostly it arrives; or it is lost; or it arrives after the connection has broken.
FATES = ["whole"] * 5 + ["lost", "late", "no reply"]


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@asynccontextmanager
async def broken_client(url: str, seed: int) -> AsyncIterator[tuple[Client, BreakingProxy]]:
    """A client whose connection breaks, once it is open."""
    proxy = BreakingProxy(url, random.Random(seed))
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = await open_client(f"redis://127.0.0.1:{port}/{_database(url)}", deadline_s=5.0)
    proxy.is_whole = False
    try:
        yield client, proxy
    finally:
        await client.close()
        server.close()
        await proxy.end()


def _database(url: str) -> str:
    """The number of the database that the address names."""
    address = urlsplit(url)
    return (
        parse_qs(address.query).get("db", [""])[0]
        or (address.path.strip("/") if address.scheme != "unix" else "")
        or "0"
    )


@pytest.mark.parametrize("seed", range(2))
async def test_checkouts_over_a_breaking_network_end_as_one_order_each(
    store: Client, store_url: str, seed: int
) -> None:
    shop = RedisShop(store)
    await shop.set_stock(MUG, 1000)
    await shop.set_stock(BOX, 1000)
    carts = [await shop.cart({MUG: 2, BOX: 1}) for _ in range(CARTS)]
    async with broken_client(store_url, seed) as (client, proxy):
        orders = []
        for one, other in zip(carts[::2], carts[1::2], strict=True):
            orders += await asyncio.gather(*(until_ordered(shop, client, proxy, cart) for cart in (one, other)))
        proxy.is_whole = True
    assert proxy.broken > CARTS / 4
    assert len(set(orders)) == CARTS
    await shop.sweep()
    assert (await shop.available(MUG), await shop.taken(MUG)) == (1000 - 2 * CARTS, 2 * CARTS)
    assert (await shop.available(BOX), await shop.taken(BOX)) == (1000 - CARTS, CARTS)
    waiting = await shop.outbox.unsent(per_partition=100)
    assert sorted(entry.order_id for entry in waiting) == sorted(orders)
    assert not await shop.orders.open_claims()


async def until_ordered(shop: RedisShop, client: Client, proxy: BreakingProxy, cart: Cart) -> str:
    """Try with the same key until the order is placed."""
    handlers = shop.handlers(orders=RedisOrders(client), stock=RedisStock(client))
    while True:
        before, is_denied = (await shop.carts.read(cart.id)).order_id, False
        try:
            placed = await handlers.place(a_request(cart), idempotency_key=cart.id)
        except IdempotencyKeyInProgress:
            await shop.expire_claim(cart.id)
        except (CheckoutInterrupted, StoreUnavailable) as error:
            is_denied = not error.may_have_run
        else:
            assert isinstance(placed, PlacedOrder)
            now = await shop.carts.read(cart.id)
            assert now.order_id == placed.order.id
            return placed.order.id
        await proxy.deliver()
        if is_denied:
            assert (await shop.carts.read(cart.id)).order_id == before

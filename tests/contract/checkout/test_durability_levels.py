"""What each level of durability promises, what it can lose, and what a checkout says where it is not reached."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.store_pair import StoreServer, await_condition, store_pair, store_server
from cart.model import OrderId
from checkout.errors import CheckoutInterrupted, OrderNotDurable
from checkout.outbox import OutboxDispatcher
from checkout.queue_receipts import QueueReceipts
from checkout.received_message import order_id_of
from checkout.redis.durability import AofWait, Durability, OnReply, ReplicaWait
from store import Client, ReplyError, Script, open_client
from tests.contract.checkout.shop import MUG, MemoryShop, RedisShop, Shop, a_request, switchable_shop
from tests.unit.checkout.fake_services import MemoryQueue
from tests.waiting import WITHIN_S, until

INCREMENT = Script("return redis.call('INCR', KEYS[1])")
FAIL = Script("return redis.error_reply('ERR no')")
FILE = ("--appendonly", "yes", "--appendfsync")
KEY = "the key"
PATIENT_MS = round(WITHIN_S * 1000)


@dataclass
class Level:
    """A level on a store of its own. `lose` does the worst that it promises to survive, and returns the address after that."""

    url: str
    durable: Callable[[Client], Durability]
    lose: Callable[[], str]


@contextmanager
def memory(folder: Path) -> Iterator[Level]:
    with store_server(folder) as server:
        yield Level(server.url, OnReply, lambda: restarted(server))


@contextmanager
def aof(folder: Path) -> Iterator[Level]:
    with store_server(folder, *FILE, "everysec") as server:
        yield Level(server.url, lambda store: AofWait(store, wait_ms=PATIENT_MS), lambda: restarted(server))


@contextmanager
def server(folder: Path) -> Iterator[Level]:
    """A store that is durable by itself: here because each reply follows its flush, which clients need not know."""
    with store_server(folder, *FILE, "always") as server:
        yield Level(server.url, OnReply, lambda: restarted(server))


@contextmanager
def replica(folder: Path) -> Iterator[Level]:
    with store_pair(folder) as (first, second):
        yield Level(first.url, lambda store: ReplicaWait(store, wait_ms=PATIENT_MS), lambda: promoted(first, second))


def restarted(server: StoreServer) -> str:
    """The process is killed, and started again on its files."""
    server.kill()
    server.start()
    return server.url


def promoted(first: StoreServer, second: StoreServer) -> str:
    """The machine of the primary is lost with its files, and its replica takes over."""
    first.kill()
    shutil.rmtree(first.folder)
    second.promote()
    return second.url


@pytest.fixture(params=[aof, server, replica], ids=lambda level: level.__name__)
def level(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Level]:
    with request.param(tmp_path) as level:
        yield level


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[str], Awaitable[Client]]]:
    """Opens clients, which are closed after the test."""
    async with AsyncExitStack() as stack:

        async def opened(url: str) -> Client:
            client = await open_client(url, deadline_s=WITHIN_S)
            stack.push_async_callback(client.close)
            return client

        yield opened


async def ordered(level: Level, client: Client, commits: Client) -> OrderId:
    """An order that was accepted."""
    shop = RedisShop(client, durability=level.durable(commits))
    await shop.set_stock(MUG, 10)
    return (await shop.handlers().place(a_request(await shop.cart()), idempotency_key=KEY)).order.id


async def test_a_durable_write_has_its_reply(level: Level, opened: Any) -> None:
    durability = level.durable(await opened(level.url))
    assert await durability.write(INCREMENT, ["n"], []) == (1, True)
    assert await asyncio.gather(*(durability.write(INCREMENT, ["n"], []) for _ in range(5))) == [
        (n, True) for n in range(2, 7)
    ]


async def test_a_write_that_fails_fails_alone(level: Level, opened: Any) -> None:
    durability = level.durable(await opened(level.url))
    calls = (durability.write(FAIL, ["n"], []), durability.write(INCREMENT, ["n"], []))
    outcomes: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes[0], ReplyError)
    assert outcomes[1] == (1, True)


async def test_a_script_that_the_server_has_forgotten_is_durable_too(level: Level, opened: Any) -> None:
    client = await opened(level.url)
    durability = level.durable(client)
    await durability.write(INCREMENT, ["n"], [])
    await client.execute("SCRIPT", "FLUSH")
    assert await durability.write(INCREMENT, ["n"], []) == (2, True)


async def test_an_accepted_order_survives_what_its_level_promises(level: Level, opened: Any) -> None:
    order_id = await ordered(level, await opened(level.url), await opened(level.url))
    after = RedisShop(await opened(await asyncio.to_thread(level.lose)))
    order = await after.orders.read(order_id)
    assert order is not None
    assert (await after.carts.read(order.cart_id)).order_id == order_id
    assert await after.available(MUG) == 8


async def test_an_order_in_memory_is_lost_with_its_process(tmp_path: Path, opened: Any) -> None:
    with memory(tmp_path) as level:
        order_id = await ordered(level, await opened(level.url), await opened(level.url))
        after = RedisShop(await opened(await asyncio.to_thread(level.lose)))
        assert await after.orders.read(order_id) is None


async def test_a_file_is_lost_with_its_machine(tmp_path: Path, opened: Any) -> None:
    with store_server(tmp_path / "machine", *FILE, "always") as server:
        level = Level(server.url, OnReply, lambda: restarted(server))
        order_id = await ordered(level, await opened(level.url), await opened(level.url))
        server.kill()
        shutil.rmtree(server.folder)
        server.folder.mkdir()
        await asyncio.to_thread(server.start)
        assert await RedisShop(await opened(server.url)).orders.read(order_id) is None


@pytest.mark.parametrize("is_awaited", [False, True], ids=["memory", "replica"])
async def test_an_order_that_no_replica_has_is_lost_in_a_failover_unless_it_is_waited_for(
    tmp_path: Path, opened: Any, is_awaited: bool
) -> None:
    with store_pair(tmp_path) as (first, second):
        client, commits = await opened(first.url), await opened(first.url)
        # It follows nobody. A replica that only hangs would find in its socket what the dead primary had sent.
        second.command("REPLICAOF", "127.0.0.1", 1)
        await asyncio.to_thread(await_condition, lambda: not first.info("replication")["connected_slaves"])
        shop = RedisShop(client, durability=ReplicaWait(commits, wait_ms=50) if is_awaited else None)
        await shop.set_stock(MUG, 10)
        cart = await shop.cart()
        placing = shop.handlers().place(a_request(cart), idempotency_key=KEY)
        if is_awaited:
            # No 202, and the shopper hears that it is open what became of it.
            with pytest.raises(CheckoutInterrupted) as interrupted:
                await placing
            assert interrupted.value.may_have_run
            assert (await shop.carts.read(cart.id)).status == "open"
            assert await shop.available(MUG) == 10
        else:
            assert (await placing).order.cart_id == cart.id
        await asyncio.to_thread(first.kill)
        await asyncio.to_thread(second.promote)
        assert await (await opened(second.url)).execute("KEYS", "*o:*") == []


async def test_without_a_replica_no_write_is_durable(tmp_path: Path, opened: Any) -> None:
    with store_server(tmp_path) as server:
        durability = ReplicaWait(await opened(server.url), wait_ms=50)
        assert not await durability.probe()
        assert await durability.write(INCREMENT, ["n"], []) == (1, False)


async def test_a_replica_that_is_back_confirms_writes_again(tmp_path: Path, opened: Any) -> None:
    with store_pair(tmp_path) as (first, second):
        durability = ReplicaWait(await opened(first.url), wait_ms=50)
        second.signal(signal.SIGSTOP)
        assert await durability.write(INCREMENT, ["n"], []) == (1, False)
        second.signal(signal.SIGCONT)
        patient = ReplicaWait(await opened(first.url), wait_ms=PATIENT_MS)
        assert await patient.write(INCREMENT, ["n"], []) == (2, True)
        await asyncio.to_thread(await_condition, lambda: second.command("GET", "n") == b"2")


# A checkout, on every adapter


@pytest.fixture(params=["memory", "redis"])
def bare_shop(request: pytest.FixtureRequest) -> Shop:
    return switchable_shop(request)


@pytest.fixture
async def shop(bare_shop: Shop) -> Shop:
    await bare_shop.set_stock(MUG, 10)
    return bare_shop


def undo_is_unsafe(shop: Shop) -> None:
    if isinstance(shop, MemoryShop):
        shop.memory_orders.undo_is_safe = False
    else:
        assert isinstance(shop, RedisShop)
        shop.durability.undo_is_safe = False  # type: ignore[union-attr]


@pytest.mark.parametrize("is_safe", [True, False])
async def test_the_refusal_says_whether_the_order_may_stand(shop: Shop, is_safe: bool) -> None:
    shop.set_durable(False)
    if not is_safe:
        undo_is_unsafe(shop)
    cart = await shop.cart()
    with pytest.raises(OrderNotDurable if is_safe else CheckoutInterrupted) as refused:
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert getattr(refused.value, "may_have_run", False) is not is_safe
    assert ((await shop.carts.read(cart.id)).status, await shop.available(MUG)) == ("open", 10)
    shop.set_durable(True)
    assert not (await shop.handlers().place(a_request(cart), idempotency_key=KEY)).replayed


class Queueing:
    """A shop whose orders are accepted once a queue outside of its store has their messages."""

    def __init__(self, shop: Shop, *, within_s: float = WITHIN_S) -> None:
        self.shop = shop
        self.queue = MemoryQueue()
        outbox: Any = shop.outbox
        self.receipts = QueueReceipts(outbox, within_s=within_s)
        self.dispatcher = OutboxDispatcher(outbox, self.queue, on_sent=self.receipts.acknowledged, first_backoff_s=0.01)

    async def place(self, cart_id: Any) -> Any:
        handlers = self.shop.handlers(is_queued=self.receipts.is_queued, dispatch=self.dispatcher.submit)
        return await handlers.place(a_request(cart_id), idempotency_key=KEY)

    async def queued(self) -> list[OrderId]:
        return [order_id_of(each.body) for each in await self.queue.receive(10, 0)]


async def test_an_order_is_accepted_when_the_queue_has_it(shop: Shop) -> None:
    queueing = Queueing(shop)
    placing = asyncio.ensure_future(queueing.place((await shop.cart()).id))
    await until(lambda: queueing.dispatcher.waiting)
    assert not placing.done()
    sending = asyncio.ensure_future(queueing.dispatcher.send())
    order = (await placing).order
    # All of the store may be lost from here on.
    assert await queueing.queued() == [order.id]
    sending.cancel()
    await asyncio.wait([sending])


async def test_an_order_that_the_queue_does_not_get_in_time_may_stand_and_is_confirmed_later(shop: Shop) -> None:
    queueing, cart = Queueing(shop, within_s=0.05), await shop.cart()
    for _ in range(2):
        with pytest.raises(CheckoutInterrupted) as interrupted:
            await queueing.place(cart.id)
        assert interrupted.value.may_have_run
    assert await queueing.queued() == []
    sending = asyncio.ensure_future(queueing.dispatcher.send())
    await until(lambda: not queueing.dispatcher.waiting)
    placed = await queueing.place(cart.id)
    assert placed.replayed
    assert await queueing.queued() == [placed.order.id]
    assert await shop.available(MUG) == 8
    sending.cancel()
    await asyncio.wait([sending])


async def test_an_order_is_confirmed_whichever_process_has_sent_it(shop: Shop) -> None:
    queueing, cart = Queueing(shop, within_s=0.05), await shop.cart()
    with pytest.raises(CheckoutInterrupted):
        await queueing.place(cart.id)
    outbox: Any = shop.outbox
    await outbox.mark_sent(await outbox.unsent(per_partition=10))
    assert (await Queueing(shop).place(cart.id)).replayed


async def test_the_outbox_knows_of_which_orders_messages_wait(shop: Shop) -> None:
    orders = [
        (await shop.handlers().place(a_request(await shop.cart()), idempotency_key=KEY)).order.id for _ in range(3)
    ]
    outbox: Any = shop.outbox
    assert all([await outbox.has_message_of(each) for each in orders])
    await outbox.mark_sent([each for each in await outbox.unsent(per_partition=10) if each.order_id == orders[0]])
    assert [await outbox.has_message_of(each) for each in orders] == [False, True, True]


async def test_a_receipt_that_nobody_waits_for_leaves_nothing(shop: Shop) -> None:
    queueing, cart = Queueing(shop, within_s=0.01), await shop.cart()
    with pytest.raises(CheckoutInterrupted):
        await queueing.place(cart.id)
    assert queueing.receipts._waiting == {}

"""Orders that are accepted only when they are in the append-only file on disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, cast

import pytest

from cart.model import OrderId
from checkout.errors import ChangeNotDurable, CheckoutInterrupted, OrderNotDurable
from checkout.facts import PaymentFact
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.orders import Orders, Receipt
from checkout.purchase import PlacedOrder
from checkout.redis.durability import AofWait, OnReply, fsync_policy
from checkout.redis.orders import RedisOrders
from store import Client, ReplyError, Script, StoreUnavailable, open_client
from tests.contract.checkout.shop import MUG, RedisShop, a_request
from tests.waiting import WITHIN_S

KEY = "the key"
INCREMENT = Script("return redis.call('INCR', KEYS[1])")
FAIL = Script("return redis.error_reply('ERR no')")


class CommitStore:
    """A connection for commits whose WAITAOF replies a test can delay or replace."""

    def __init__(self, client: Client) -> None:
        self.commands: list[str] = []
        self.replies: asyncio.Queue[Any] | None = None
        self._client = client

    def execute(self, *command: bytes | str | float) -> Awaitable[Any]:
        self.commands.append(str(command[0]))
        return self._client.execute(*command)

    def execute_blocking(self, *command: bytes | str | float, timeout_s: float) -> Awaitable[Any]:
        self.commands.append(str(command[0]))
        waited = self._client.execute_blocking(*command, timeout_s=timeout_s)
        return waited if self.replies is None else self._replace_reply(waited, self.replies)

    def run(self, script: Script, keys: Any, args: Any = ()) -> Awaitable[Any]:
        raise AssertionError("a script that is loaded and repeated is not what WAITAOF spoke for")

    async def _replace_reply(self, waited: Awaitable[Any], replies: asyncio.Queue[Any]) -> Any:
        await waited
        reply = await replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply


@pytest.fixture
async def commits(store: Client, store_url: str) -> AsyncIterator[CommitStore]:
    client = await open_client(store_url, deadline_s=5.0)
    try:
        await AofWait(client).probe()
        yield CommitStore(client)
    except ReplyError as error:
        pytest.skip(f"this server cannot wait for its append-only file: {error}")
    finally:
        await client.close()


@pytest.fixture
async def everysec(store: Client) -> AsyncIterator[None]:
    before = await fsync_policy(store)
    if before in {None, "off"}:
        pytest.skip("this server keeps no append-only file, or does not tell")
    await store.execute("CONFIG", "SET", "appendfsync", "everysec")
    yield
    await store.execute("CONFIG", "SET", "appendfsync", str(before))


@pytest.fixture
async def shop(store: Client, commits: CommitStore) -> RedisShop:
    shop = RedisShop(store, durability=AofWait(commits))
    await shop.set_stock(MUG, 10)
    return shop


async def test_the_fsync_policy_of_the_server_is_read(store: Client, everysec: None) -> None:
    assert await fsync_policy(store) == "everysec"


async def test_a_write_is_durable_when_it_is_on_disk(commits: CommitStore, everysec: None) -> None:
    assert await AofWait(commits).write(INCREMENT, ["n"], []) == (1, True)


async def test_concurrent_writes_share_one_waitaof(commits: CommitStore) -> None:
    durability = AofWait(commits)
    await durability.write(INCREMENT, ["n"], [])
    commits.commands.clear()
    results = await asyncio.gather(*(durability.write(INCREMENT, ["n"], []) for _ in range(5)))
    assert results == [(n, True) for n in range(2, 7)]
    assert commits.commands == ["EVALSHA"] * 5 + ["WAITAOF"]


async def test_writes_during_a_waitaof_form_the_next_batch(commits: CommitStore) -> None:
    durability = AofWait(commits)
    await durability.write(INCREMENT, ["n"], [])
    commits.commands.clear()
    commits.replies = asyncio.Queue()
    first = asyncio.ensure_future(durability.write(INCREMENT, ["n"], []))
    await asyncio.sleep(0)
    later = [asyncio.ensure_future(durability.write(INCREMENT, ["n"], [])) for _ in range(2)]
    commits.replies.put_nowait([1, 0])
    assert await first == (2, True)
    commits.replies.put_nowait([0, 0])
    assert await asyncio.gather(*later) == [(3, False), (4, False)]
    assert commits.commands == ["EVALSHA", "WAITAOF", "EVALSHA", "EVALSHA", "WAITAOF"]


async def test_a_script_unknown_to_the_server_is_covered_by_waitaof(store: Client, commits: CommitStore) -> None:
    await store.execute("SCRIPT", "FLUSH")
    assert await AofWait(commits).write(INCREMENT, ["n"], []) == (1, True)
    assert commits.commands == ["EVALSHA", "WAITAOF", "SCRIPT", "EVALSHA", "WAITAOF"]


async def test_a_write_that_fails_fails_alone(commits: CommitStore) -> None:
    durability = AofWait(commits)
    results: list[Any] = await asyncio.gather(
        durability.write(FAIL, ["n"], []), durability.write(INCREMENT, ["n"], []), return_exceptions=True
    )
    assert isinstance(results[0], ReplyError)
    assert results[1] == (1, True)


async def test_a_write_whose_waitaof_is_lost_is_not_durable(commits: CommitStore) -> None:
    commits.replies = asyncio.Queue()
    commits.replies.put_nowait(StoreUnavailable("lost"))
    durability = AofWait(commits)
    await commits.execute("SCRIPT", "LOAD", INCREMENT.text)
    assert await durability.write(INCREMENT, ["n"], []) == (1, False)


async def test_durability_on_reply_waits_for_no_file(store: Client) -> None:
    assert await OnReply(store).write(INCREMENT, ["n"], []) == (1, True)


async def test_an_order_that_is_on_disk_is_accepted(shop: RedisShop, everysec: None) -> None:
    placed = await shop.handlers().place(a_request(await shop.cart()), idempotency_key=KEY)
    receipt = await shop.orders.receipt(placed.order.id)
    assert receipt is not None
    assert receipt.is_durable
    assert len(shop.dispatched) == 1


async def test_an_order_that_is_not_on_disk_in_time_is_rolled_back(shop: RedisShop, commits: CommitStore) -> None:
    cart = await shop.cart()
    request = a_request(cart)
    await warm_up(shop)
    commits.replies = asyncio.Queue()
    commits.replies.put_nowait([0, 0])
    with pytest.raises(OrderNotDurable):
        await shop.handlers().place(request, idempotency_key=KEY)
    now = await shop.carts.read(cart.id)
    assert (now.status, now.lines, now.order_id) == ("open", cart.lines, None)
    assert now.version == cart.version + 2
    assert (await shop.available(MUG), await shop.taken(MUG)) == (10, 0)
    assert not await shop.outbox.unsent(per_partition=10)
    commits.replies = None
    assert not (await shop.handlers().place(request, idempotency_key=KEY)).replayed
    await shop.sweep()
    assert (await shop.available(MUG), await shop.taken(MUG)) == (8, 2)
    assert not await shop.orders.open_claims()


async def test_the_stock_of_a_rolled_back_order_is_swept_if_the_process_dies(
    shop: RedisShop, commits: CommitStore
) -> None:
    await warm_up(shop)
    commits.replies = asyncio.Queue()
    commits.replies.put_nowait([0, 0])

    class DyingStock:
        hold = shop.stock.hold

        async def release(self, *args: Any, **fence: Any) -> None:
            raise StoreUnavailable("gone")

    stock: Any = DyingStock()
    with pytest.raises(OrderNotDurable):
        await shop.handlers(stock=stock).place(a_request(await shop.cart()), idempotency_key=KEY)
    assert (await shop.available(MUG), await shop.taken(MUG)) == (8, 2)
    assert await shop.sweep() == 1
    assert (await shop.available(MUG), await shop.taken(MUG)) == (10, 0)


async def test_a_replay_waits_until_the_order_is_on_disk(shop: RedisShop, commits: CommitStore, store: Client) -> None:
    request = a_request(await shop.cart())
    await warm_up(shop)
    commits.replies = asyncio.Queue()
    first = asyncio.create_task(shop.handlers().place(request, idempotency_key=KEY))
    await until_ordered(shop, request.cart_id)
    # Another process, which cannot make sure of it either.
    elsewhere = CommitStore(store)
    elsewhere.replies = asyncio.Queue()
    elsewhere.replies.put_nowait([0, 0])
    other = RedisOrders(store, durability=AofWait(elsewhere))
    with pytest.raises(CheckoutInterrupted) as interrupted:
        await shop.handlers(orders=other).place(request, idempotency_key=KEY)
    assert interrupted.value.may_have_run
    commits.replies.put_nowait([1, 0])
    assert not (await first).replayed


async def test_a_replay_of_an_order_that_is_rolled_back_meanwhile_orders_again(
    shop: RedisShop, commits: CommitStore
) -> None:
    request = a_request(await shop.cart())
    await warm_up(shop)
    commits.replies = asyncio.Queue()
    first = asyncio.create_task(shop.handlers().place(request, idempotency_key=KEY))
    await until_ordered(shop, request.cart_id)

    class SlowToLook:
        orders = RedisOrders(shop.store)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.orders, name)

        async def receipt(self, order_id: OrderId) -> Receipt | None:
            replies.put_nowait([0, 0])
            with pytest.raises(OrderNotDurable):
                await first
            return await self.orders.receipt(order_id)

    replies = commits.replies
    placed = await shop.handlers(orders=cast(Orders, SlowToLook())).place(request, idempotency_key=KEY)
    assert not placed.replayed
    assert (await shop.carts.read(placed.order.cart_id)).order_id == placed.order.id


async def test_an_order_that_a_replay_found_on_disk_is_not_rolled_back(
    shop: RedisShop, commits: CommitStore, store: Client
) -> None:
    request = a_request(await shop.cart())
    await warm_up(shop)
    commits.replies = asyncio.Queue()
    first = asyncio.create_task(shop.handlers().place(request, idempotency_key=KEY))
    await until_ordered(shop, request.cart_id)
    other = RedisOrders(store, durability=AofWait(CommitStore(store)))
    replay = await shop.handlers(orders=other).place(request, idempotency_key=KEY)
    assert replay.replayed
    commits.replies.put_nowait([0, 0])
    assert (await first).order == replay.order  # too late to roll it back
    again = await shop.handlers(orders=other).place(request, idempotency_key=KEY)
    assert isinstance(again, PlacedOrder)
    assert again.order == replay.order
    assert (await shop.available(MUG), await shop.taken(MUG)) == (8, 2)


async def test_a_cancellation_waits_until_it_is_on_disk(shop: RedisShop, commits: CommitStore) -> None:
    await warm_up(shop)
    order = (await shop.handlers().place(a_request(await shop.cart()), idempotency_key=KEY)).order
    # The server knows the scripts: a cancellation, and its repetition, are one batch each.
    other = (await shop.handlers().place(a_request(await shop.cart()), idempotency_key="other")).order
    await shop.handlers().cancel(other.id)
    await shop.handlers().cancel(other.id)
    commits.replies = asyncio.Queue()
    for _ in range(2):
        commits.replies.put_nowait([0, 0])
        with pytest.raises(ChangeNotDurable):
            await shop.handlers().cancel(order.id)
    commits.replies.put_nowait([1, 0])
    assert (await shop.handlers().cancel(order.id)).reason is CancelReason.REQUESTED


async def test_transitions_are_not_waited_for_until_the_order_has_ended(shop: RedisShop, commits: CommitStore) -> None:
    order = (await shop.handlers().place(a_request(await shop.cart()), idempotency_key=KEY)).order
    commits.commands.clear()
    for status in list(OrderStatus)[1:5]:
        order = await shop.orders.transition(order, status, at=shop.now())
    assert commits.commands == []
    for _ in range(2):
        # Each time with a write of its own, which WAITAOF then covers.
        commits.commands.clear()
        await shop.orders.settle(order)
        assert commits.commands[-2:] == ["EVALSHA", "WAITAOF"]
    assert await shop.in_flight.stalled(idle_s=0, limit=10) == []
    commits.replies = asyncio.Queue()
    commits.replies.put_nowait([0, 0])
    with pytest.raises(ChangeNotDurable):
        await shop.orders.settle(order)


async def test_a_settlement_changes_the_order_each_time(shop: RedisShop, store: Client) -> None:
    order = (await shop.handlers().place(a_request(await shop.cart()), idempotency_key=KEY)).order
    for status in list(OrderStatus)[1:5]:
        order = await shop.orders.transition(order, status, at=shop.now())
    await shop.orders.settle(order)
    changes = [await changes_of(store)]
    for _ in range(2):
        await shop.orders.settle(order)
        changes.append(await changes_of(store))
    assert changes[0] < changes[1] < changes[2]


async def test_a_fact_that_is_told_again_is_a_change_that_is_waited_for(
    shop: RedisShop, commits: CommitStore, store: Client
) -> None:
    """WAITAOF covers the writes of its connection, and the fact may have come over that of another process."""
    order = (await shop.handlers().place(a_request(await shop.cart()), idempotency_key=KEY)).order
    fact = PaymentFact("payment:1", shop.now(), "captured", amount=order.total)
    assert await shop.orders.append_fact(order.id, fact, message=b"m") is not None
    before = await changes_of(store)
    commits.replies = asyncio.Queue()
    commits.replies.put_nowait([0, 0])
    with pytest.raises(ChangeNotDurable):
        await shop.orders.append_fact(order.id, fact, message=b"m")
    assert await changes_of(store) > before
    commits.replies.put_nowait([1, 0])
    assert await shop.orders.append_fact(order.id, fact, message=b"m") is None
    stored = await shop.orders.read(order.id)
    assert stored is not None
    assert stored.facts == (fact,)


async def changes_of(store: Client) -> int:
    """The writes that the server has counted."""
    info = (await store.execute("INFO", "persistence")).decode()
    return int(next(line for line in info.splitlines() if line.startswith("rdb_changes_since_last_save")).split(":")[1])


async def warm_up(shop: RedisShop) -> None:
    """The server knows the script of a commit, so that a commit is one batch."""
    cart = await shop.cart()
    placed = await shop.handlers().place(a_request(cart), idempotency_key="warming up")
    await shop.stock.cancel(placed.order.id, placed.order.skus)
    await shop.outbox.mark_sent(shop.dispatched)
    shop.dispatched.clear()
    # And that of a replay.
    assert await shop.orders.receipt(placed.order.id)
    await shop.store.execute("HSET", f"{{{cart.id[:2]}}}o:{placed.order.id}", "durable", "0")
    assert await shop.orders.receipt(placed.order.id)


async def until_ordered(shop: RedisShop, cart_id: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while (await shop.store.execute("HGET", f"{{{cart_id[:2]}}}c:{cart_id}", "\1s")) != b"ordered":
            continue

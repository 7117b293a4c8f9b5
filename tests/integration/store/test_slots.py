"""All keys of a call are in one slot of a cluster, but for the calls that a cluster gets one key at a time.

Each adapter is used as the shop uses it, on a store that computes the slots of each call. A script that none of these uses call fails
the first test: add a use of it here.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import pkgutil
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

import cart
import checkout
import gateway
import store as store_package
from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.catalog.redis_trends import RedisTrends
from cart.ids import new_cart_id, new_own_cart_id, order_id_for, parse_sku, partition_of
from cart.model import CartId, OrderId, Sku
from cart.ports import DIGEST_CHARS
from cart.redis_erasure import RedisCartErasure
from cart.redis_merge import Merges
from cart.sku_keys import cart_holds_key, hold_changes_key, holds_key, product_key, purchases_key, restocked_key
from cart.stored import cart_key, keys_key
from cart.timestamps import unix_ms
from checkout.agents.bodies import Buyer, FulfillmentDetails
from checkout.agents.session import Session
from checkout.archive.archived import Records
from checkout.errors import OrderNotDurable
from checkout.facts import ShipmentFact
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.order_index import Shopper
from checkout.ports.orders import Claimed
from checkout.ports.queue import Outgoing
from checkout.ports.stock import StockLine
from checkout.ports.webhooks import FailurePolicy, Message
from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.privacy.redis_key_registry import RedisKeyRegistry
from checkout.privacy.sealer import Sealer
from checkout.queues.redis_dead_letters import RedisDeadLetters
from checkout.queues.redis_queue import RedisQueue
from checkout.redis.agent_sessions import RedisAgentSessions, RedisSessionErasure, session_key, sessions_of_email_key
from checkout.redis.books import RedisBooks
from checkout.redis.cart_holds import LISTED_MS, RedisCartHolds
from checkout.redis.coupon_codes import RedisCouponCodes
from checkout.redis.documents import RedisDocuments
from checkout.redis.durability import AofWait
from checkout.redis.erasures import RedisErasures
from checkout.redis.event_outbox import RedisEventOutbox
from checkout.redis.held_units import HeldUnits
from checkout.redis.inventory import RedisInventory
from checkout.redis.low_stock import RedisLowStockList
from checkout.redis.order_index import ENTER, RedisOrderIndex
from checkout.redis.order_listing import COUNT, RedisOrderListing
from checkout.redis.orders import RedisOrders
from checkout.redis.outbox import MARK_SENT, UNSENT, RedisOutbox
from checkout.redis.records import RedisOrderRecords
from checkout.redis.stock import COMPLETE, CONFIRM, HOLD, RETURN_STOCK, RedisStock
from checkout.redis.webhooks import RedisWebhooks
from checkout.stored import claim_key, ended_key, order_key, outbox_key
from gateway.cache.purge import Purge
from gateway.cache.purge_log import PurgeLog
from gateway.cache.store_backend import StoreBackend
from gateway.config.policies import Limit, Room
from gateway.http.message import Request, Response, resolve
from gateway.ratelimit.rate_limit import rate_limit
from gateway.ratelimit.redis_quota import PARTITIONS, RedisQuota
from gateway.waitingroom.redis_rooms import RedisRooms
from store import FINISH, Client, Lease, ReplyError, Script
from store.generation import Generation
from tests.contract.checkout.shop import LIMITS, FakePriceBook, RedisShop, SwitchedDurability, a_claim, a_request

PACKAGES: Final = (cart, checkout, gateway, store_package)
# An empty tag is none, a tag ends at the first closing brace, and an opening brace within it counts for nothing.
SKUS: Final = tuple(
    Sku(each) for each in ("85123A", "BANK CHARGES", "{", "}", "{}", "}{", "a{b}c", "a}", "{a", "}}b{", "é")
)
SINK: Final = "archive"
HASHES: Final = Pseudonyms(b"a key")
# Lines of an order, partitions, numbers and shoppers are in different slots; on a cluster each has a call of its own.
SPLIT_ON_A_CLUSTER: Final = frozenset({HOLD, CONFIRM, RETURN_STOCK, COMPLETE, UNSENT, MARK_SENT, ENTER, COUNT})
# The digests of an idempotency key and of its write.
KEY: Final = "a" * DIGEST_CHARS + "b" * DIGEST_CHARS


class SlotStore:
    """A `Store` that notes the scripts that are run, and the calls whose keys are in more than one slot."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.run_by: set[str] = set()
        self.commands: list[tuple[Any, ...]] = []
        self.split: set[Script] = set()

    def execute(self, *command: Any) -> Awaitable[Any]:
        self.commands.append(command)
        if command[0] == "EVALSHA":
            self.run_by.add(command[1])
        return self.client.execute(*command)

    def execute_blocking(self, *command: Any, timeout_s: float) -> Awaitable[Any]:
        self.commands.append(command)
        return self.client.execute_blocking(*command, timeout_s=timeout_s)

    def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Awaitable[Any]:
        self.run_by.add(script.sha)
        if len(set(map(slot_of, keys))) != 1:
            self.split.add(script)
        return self.client.run(script, keys, args)

    async def split_commands(self) -> list[tuple[Any, ...]]:
        """The commands, but `run`, whose keys are in several slots; the server says which of their arguments are keys."""
        keys = await asyncio.gather(*map(self._keys_of, self.commands))
        return [command for command, own in zip(self.commands, keys, strict=True) if len(set(map(slot_of, own))) > 1]

    async def _keys_of(self, command: tuple[Any, ...]) -> Sequence[bytes]:
        try:
            found: Sequence[bytes] = await self.client.execute("COMMAND", "GETKEYS", *command)
        except ReplyError:  # it has none
            return []
        return found


def slot_of(key: Any) -> int:
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


class Uses:
    """The uses of all adapters, on a cluster or not."""

    def __init__(self, store: SlotStore, *, is_cluster: bool) -> None:
        self.store = store
        self.is_cluster = is_cluster
        self.shop = RedisShop(store)
        self.shop.prices = FakePriceBook(dict.fromkeys(SKUS, 100))
        self.shop.events.enable(SINK)
        if is_cluster:
            self.shop.stock = RedisStock(store, lines_per_call=1)
            self.shop.outbox = RedisOutbox(store, slots_per_call=1)
        self.index = self.shop.index = RedisOrderIndex(store, HASHES, is_cluster=is_cluster)
        self.listing = RedisOrderListing(store, is_cluster=is_cluster)

    async def all(self) -> None:
        await self.catalog()
        await self.carts()
        await self.merges()
        await self.checkout()
        await self.progress()
        await self.books()
        await self.ended_orders()
        await self.events_and_webhooks()
        await self.queue()
        await self.sessions()
        await self.edge()
        await self.leases()

    async def ordered(self) -> Order:
        order = (await self.shop.handlers().place(a_request(await self.filled()), idempotency_key="key")).order
        await self.index.enter(order)
        return order

    async def filled(self) -> CartId:
        return (await self.shop.cart(dict.fromkeys(SKUS, 1), owner=None)).id

    async def catalog(self) -> None:
        catalog, prices = RedisCatalog(self.store), RedisPriceBook(self.store)
        await catalog.put([CatalogRow(sku, "a name", 100, "GBP", 10_000) for sku in SKUS])
        await catalog.levels(SKUS)
        await catalog.missing(SKUS)
        await catalog.announce(SKUS, by="")
        await catalog.changes_after("", 1)
        await catalog.rows(SKUS)
        await catalog.raise_epoch()
        await catalog.mark_imported("digest")
        await catalog.has_imported("digest")
        async with catalog.lease(wait_s=1):
            await prices.products(SKUS)
        trends = RedisTrends(self.store, half_life_s=60)
        await trends.add(dict.fromkeys(SKUS, 1))
        await trends.top(10)

    async def carts(self) -> None:
        shop, erasure = self.shop, RedisCartErasure(self.store)
        cart = await shop.cart(dict.fromkeys(SKUS, 1), owner="ada")
        await self.cart_holds(cart.id)
        keyed = shop.write(owner="ada", key=KEY)
        cart = await shop.carts.set_lines(cart.id, cart.lines, currency="GBP", write=keyed)
        await shop.carts.add_line(
            cart.id, cart.lines[0], currency="GBP", write=shop.write(owner="ada", key=KEY.swapcase())
        )
        await shop.carts.remove_line(cart.id, SKUS[0], write=shop.write(owner="ada"))
        await shop.carts.delete(cart.id, write=shop.write(owner="ada"))
        await shop.carts.own(msgspec.structs.replace(cart, id=new_own_cart_id("ada")), limits=LIMITS)
        await erasure.delete(cart.id)
        await erasure.delete_all_of("ada")

    async def cart_holds(self, cart_id: CartId) -> None:
        holds = RedisCartHolds(self.store)
        await holds.set(cart_id, dict.fromkeys(SKUS, 1))
        await holds.read(cart_id, SKUS)
        await holds.extend(cart_id, SKUS[0])
        for sku in await holds.listed():
            await holds.free_expired(sku)
        await RedisCartHolds(self.store, now_ms=lambda: unix_ms() + 2 * LISTED_MS).listed()

    async def merges(self) -> None:
        shop, merges = self.shop, Merges(self.store)
        target, source = await self.filled(), await self.filled()
        await shop.carts.merge(target, source, "sum", write=shop.write(key=KEY))
        given_up = await self.filled()
        await merges.begin(target, given_up, shop.write())
        await merges.settle(given_up)

    async def checkout(self) -> None:
        shop, stock = self.shop, self.shop.stock
        order, *_ = [await self.ordered() for _ in range(5)]
        await shop.orders.has_key(order.cart_id, "key")
        await shop.outbox.mark_sent(await shop.outbox.unsent(per_partition=100))
        await shop.outbox_gauge.backlog()
        await stock.confirm(order.id, SKUS)
        await stock.complete(order.id, SKUS)
        await stock.restock(order.id, [StockLine(sku, 1) for sku in SKUS], report="a report")
        inventory = RedisInventory(self.store)
        for sku in SKUS:
            await inventory.add(sku, 1, key="a delivery")
            await inventory.level(sku)
        codes = RedisCouponCodes(self.store)
        await codes.add("SUMMER10")
        await codes.page(limit=10)
        low = RedisLowStockList(self.store)
        for sku in SKUS:
            await low.add(sku)
        await low.refresh(0)
        await stock.cancel(order.id, SKUS)
        await stock.expire(order.id, SKUS)
        await shop.orders.append_fact(order.id, ShipmentFact("f1", at=1, became="shipped"), message=b"{}")
        await shop.orders.receipt(order.id)
        cancelled = await self.ordered()
        await shop.handlers().cancel(cancelled.id)
        await shop.orders.make_durable(cancelled)
        await self.lose_an_order()
        await self.listing.counts()
        await self.listing.page([OrderStatus.ACCEPTED, OrderStatus.CANCELLED], limit=10)
        for lookup in (self.index.of_email("ada@example.com", limit=1), self.index.of_owner("ada", limit=1)):
            await lookup
        await self.index.places(Shopper("email", "ada@example.com"), limit=10)

    async def lose_an_order(self) -> None:
        """Begin a checkout and give it up, and roll another back that does not become durable."""
        shop = self.shop
        claim = a_claim(await self.filled())
        assert isinstance(await shop.orders.begin(claim), Claimed)
        await shop.orders.release(claim, nothing_held=False)
        await shop.orders.delete_claims(await shop.orders.open_claims())
        waiting = RedisOrders(self.store, durability=SwitchedDurability(self.store), events=shop.events)
        placed = await shop.handlers(orders=waiting).place(a_request(await self.filled()), idempotency_key="key")
        await waiting.make_durable(placed.order)
        with contextlib.suppress(OrderNotDurable):  # Redis 7.0 has no WAITAOF
            flushed = RedisOrders(self.store, durability=AofWait(self.store), events=shop.events)
            await shop.handlers(orders=flushed).place(a_request(await self.filled()), idempotency_key="key")
        cart = await self.filled()
        shop.durability = SwitchedDurability(self.store)
        shop.set_durable(False)
        with pytest.raises(OrderNotDurable):
            await shop.handlers(orders=RedisOrders(self.store, durability=shop.durability)).place(
                a_request(cart), idempotency_key="key"
            )

    async def progress(self) -> None:
        shop, order = self.shop, await self.ordered()
        await shop.progress.take(order.id, "one")
        await shop.progress.renew(order.id, "one")
        await shop.progress.delay(order.id, 1)
        await shop.progress.put_back(order.id, "one", failed=True)
        await shop.progress.set_aside(order.id, "one", reason="odd")
        await shop.progress.resume(order.id, message=b"{}")
        await shop.in_flight.stalled(idle_s=0, limit=10)
        await shop.in_flight.send_again(order, b"{}", idle_s=0)
        await shop.in_flight.remove(order.id)

    async def books(self) -> None:
        books, order = RedisBooks(self.store), await self.ordered()
        partition = partition_of(order.id)
        for pages in (books.orders(partition), books.claims(partition), *map(books.stock, SKUS)):
            async for _ in pages:
                pass
        for sku in SKUS:
            await HeldUnits(self.store, sku).begin()
        await books.entries([order.id, (await self.ordered()).id])
        await books.outbox(partition)
        async for records in books.records():
            await books.unlisted(records)

    async def ended_orders(self) -> None:
        shop, order = self.shop, await self.ordered()
        for status in list(OrderStatus)[1:5]:
            order = await shop.orders.transition(order, status, at=shop.now())
        await shop.orders.settle(order)
        records = RedisOrderRecords(self.store, Records(shop.codec, HASHES), self.index)
        [read] = await records.read([order.id])
        await records.ended(for_ms=0, limit=10)
        await records.postpone(order.id)
        await records.delete(order)
        await records.restore(read.record, b"{}")
        documents, erasures = RedisDocuments(self.store), RedisErasures(self.store)
        document = await documents.read(order.id)
        assert document is not None
        await documents.replace(order.id, document, document)
        await documents.erase(order, document, document)
        await documents.page()
        await erasures.enter([order.id], at=1)
        await erasures.waiting(limit=1)
        await erasures.finish(order.id)
        await self.index.forget(order)
        registry = RedisKeyRegistry(self.store)
        await registry.enter("index", "name", at=1)
        await registry.remove("name")

    async def events_and_webhooks(self) -> None:
        order = await self.ordered()
        outbox = RedisEventOutbox(self.store, SINK)
        partition = partition_of(order.id)
        entries = await outbox.claim(partition)
        assert entries
        await outbox.proceed(partition, entries)
        await outbox.release(partition)
        await outbox.backlog()
        webhooks, message = RedisWebhooks(self.store), Message("crm", order.id, 1)
        await webhooks.add([message])
        await webhooks.hand_over([message, Message("crm", (await self.ordered()).id, 1)])
        for _ in range(2):
            delivery = await webhooks.oldest("crm", lease_s=0)
            assert delivery is not None
            await webhooks.delay(delivery, 0)
        await webhooks.waiting("crm")
        await webhooks.failed(message, FailurePolicy())
        await webhooks.may_probe("crm", FailurePolicy())
        await webhooks.state("crm")
        await webhooks.succeeded("crm")
        await webhooks.disable("crm")
        await webhooks.enable("crm")

    async def queue(self) -> None:
        queue, letters = RedisQueue(self.store, self.store, consumer="one"), RedisDeadLetters(self.store)
        await queue.send([Outgoing(OrderId(new_cart_id()), b"{}", f"m{number}", "group") for number in range(4)])
        kept, dead, *done = await queue.receive(4, 0)
        await queue.extend([kept], 1)
        await queue.release(kept, 0)
        await queue.dead_letter(dead, reason="odd")
        await queue.acknowledge(done)
        await queue.oldest_age_s()
        for act in ("redrive", "drop"):
            run = await letters.begin(act)
            while await run.step(10):
                pass
        await queue.receive(4, 0.001)

    async def sessions(self) -> None:
        sessions = RedisAgentSessions(self.store, Sealer(MemoryKeys()), HASHES)
        for name in ("ada", "eve"):
            session = Session(
                id=new_cart_id(),
                agent="openai",
                currency="GBP",
                created_at=1,
                updated_at=1,
                buyer=Buyer(email=f"{name}@example.com"),
                details=FulfillmentDetails(email="bob@example.com"),
            )
            await sessions.put(session, version=0)
            await sessions.read(session.id)
        assert await RedisSessionErasure(self.store, HASHES).erase_all_of("bob@example.com") == 2

    async def edge(self) -> None:
        rooms, room = RedisRooms(self.store), Room(name="drop", routes=("*",), admissions_per_s=1.0, max_active=10)
        visit = await rooms.visit(room, None, "a place")
        await rooms.touch(room, visit.place_id)
        await rooms.bought(room, visit.place_id)
        await rooms.report(room, "one", 1.0, "", None)
        purges, cached = PurgeLog(self.store), StoreBackend(self.store)
        await purges.publish(Purge("tag", "a tag"))
        await purges.read()
        await cached.exists("a key")
        await cached.delete("a key")
        await self.quotas()

    async def quotas(self) -> None:
        quota = RedisQuota(self.store, share=1.0, timeout_s=10.0, partitions=PARTITIONS if self.is_cluster else 1)
        limits = [Limit(name=by, by=by, quota=3) for by in ("address", "api_key", "shopper", "route", "global")]
        handler = rate_limit(limits, quota, route="GET /x", mark=lambda _request, _what: None)(lambda _: Response(200))
        requests = [Request("GET", "/x", "", {}, b"", "id", (), f"192.0.2.{number}") for number in range(50)]
        await asyncio.gather(*(resolve(handler(request)) for request in requests))
        await quota.close()

    async def leases(self) -> None:
        lease = Lease(self.store, "a lease", ttl_ms=1000)
        await lease.acquire()
        await lease.renew()
        await lease.release()
        await Generation(self.store).advance()
        await self.store.run(FINISH, ["key"], ["ZADD", 1, "name"])


@pytest.fixture
async def uses(store: Client, request: pytest.FixtureRequest) -> Uses:
    return Uses(SlotStore(store), is_cluster=request.param)


@pytest.mark.parametrize("uses", [True], indirect=True)
async def test_on_a_cluster_all_keys_of_each_call_of_every_script_share_a_slot(uses: Uses) -> None:
    await uses.all()
    assert uses.store.split == set()
    assert await uses.store.split_commands() == []
    scripts = all_scripts()
    assert {name for name, script in scripts.items() if script.sha not in uses.store.run_by} == set()
    assert {
        path for path, text in all_files().items() if not any(text in each.text for each in scripts.values())
    } == set()


@pytest.mark.parametrize("uses", [False], indirect=True)
async def test_elsewhere_the_calls_that_a_cluster_splits_are_the_listed_ones(uses: Uses) -> None:
    await uses.all()
    assert uses.store.split == SPLIT_ON_A_CLUSTER
    assert await uses.store.split_commands() == []


def all_files() -> dict[Path, str]:
    """The text of each file of a script."""
    return {path: path.read_text() for package in PACKAGES for path in Path(package.__path__[0]).rglob("*.lua")}


def all_scripts() -> dict[str, Script]:
    """The scripts that any module has as a constant."""
    found = {}
    for package in PACKAGES:
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith("__main__"):
                continue
            members = vars(importlib.import_module(info.name)).items()
            found.update({f"{info.name}.{name}": each for name, each in members if isinstance(each, Script)})
    return found


@given(
    st.text(min_size=1, max_size=20).filter(lambda text: parse_sku(text) is not None),
    st.binary(min_size=16, max_size=16),
)
def test_the_keys_of_any_sku_and_of_any_cart_share_a_slot(text: str, drawn: bytes) -> None:
    sku = Sku(text)
    of_sku = (product_key, cart_holds_key, holds_key, hold_changes_key, purchases_key, restocked_key)
    assert len({slot_of(key(sku)) for key in of_sku}) == 1
    cart_id = new_cart_id(lambda count: drawn[:count])
    order_id = order_id_for(cart_id, 1)
    partition = partition_of(cart_id)
    keys = [cart_key(cart_id), keys_key(cart_id), claim_key(cart_id), order_key(order_id), session_key(cart_id)]
    keys += [outbox_key(partition), sessions_of_email_key(partition, HASHES.of_email(text)), ended_key(partition)]
    assert len(set(map(slot_of, keys))) == 1

"""Erasure of shoppers, and sealing with another key, for each adapter; with the archive beside them."""

from __future__ import annotations

import msgspec
import pytest

from cart.memory_erasure import MemoryCartErasure
from cart.ports import CartErasure
from cart.redis_erasure import RedisCartErasure
from checkout.archive.archived import fields_of
from checkout.memory.agent_sessions import MemoryAgentSessions
from checkout.memory.documents import MemoryDocuments
from checkout.memory.erasures import MemoryErasures
from checkout.order import NO_ADDRESS, Order
from checkout.order_status import OrderStatus
from checkout.ports.agent_sessions import SessionErasure
from checkout.ports.documents import OrderDocuments
from checkout.ports.erasures import ErasureRequests, RequestedErasure
from checkout.ports.order_index import Shopper
from checkout.privacy.erasure import SETTLE_S, Eraser, ErasureReport
from checkout.privacy.order_codec import OrderCodec
from checkout.redis.agent_sessions import RedisSessionErasure, session_key
from checkout.redis.documents import RedisDocuments
from checkout.redis.erasures import RedisErasures
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import RedisOrders
from checkout.shipping.shipment import Shipment
from checkout.stored import order_key
from store import Client
from tests.contract.cart.stores import is_on_cluster
from tests.contract.checkout.shop import MUG, FailingStore, Killed, MemoryShop, RedisShop, Shop
from tests.contract.checkout.test_records import HASHES, Archived

ADA = Shopper("owner", "ada")
BY_EMAIL = Shopper("email", "ADA@example.com")


class Erasing(Archived):
    """A shop with an archive, and an eraser over both."""

    def __init__(self, shop: Shop, request: pytest.FixtureRequest) -> None:
        super().__init__(shop, request)
        if isinstance(shop, MemoryShop):
            self.documents: OrderDocuments = MemoryDocuments(shop.memory_orders)
            self.requests: ErasureRequests = MemoryErasures()
            self.carts: CartErasure = MemoryCartErasure(shop.memory_carts)
            self.sessions: SessionErasure = MemoryAgentSessions(clock_ms=shop.now)
            self.order_codec = OrderCodec()
        else:
            assert isinstance(shop, RedisShop)
            store: Client = request.getfixturevalue("store")
            self.documents = RedisDocuments(store, page=1)
            self.requests = RedisErasures(store)
            self.carts = RedisCartErasure(store, page=1)
            self.sessions = RedisSessionErasure(store, HASHES)
            self.order_codec = shop.codec
        self.now = 1000

    def eraser(self, **parts: object) -> Eraser:
        whole: dict[str, object] = {
            "orders": self.shop.orders,
            "documents": self.documents,
            "requests": self.requests,
            "index": self.lists,
            "carts": self.carts,
            "sessions": self.sessions,
            "codec": self.order_codec,
            "archive": self.archive,
        }
        return Eraser(**{**whole, **parts}, clock_ms=lambda: self.now)  # type: ignore[arg-type]

    async def done(self, owner: str | None = "ada") -> Order:
        """An order that was completed and archived."""
        return await self.archived(await self.completed(owner))

    async def read(self, order: Order) -> Order:
        stored = await self.shop.orders.read(order.id)
        assert stored is not None
        return stored


@pytest.fixture
def shop_(shop: Shop, request: pytest.FixtureRequest) -> Erasing:
    return Erasing(shop, request)


@pytest.mark.parametrize("shopper", [ADA, BY_EMAIL], ids=["owner", "email"])
async def test_an_erased_order_has_its_money_and_its_history_and_nothing_of_its_shopper(
    shop_: Erasing, shopper: Shopper
) -> None:
    order = await shop_.done()
    report = await shop_.eraser().erase(shopper)
    assert (report.orders, report.erased, report.waiting) == (1, 1, 0)
    erased = await shop_.read(order)
    assert erased == msgspec.structs.replace(
        order, email="", shipping_address=NO_ADDRESS, payment_token="", owner=None, erased_at=1000
    )
    assert (erased.total, erased.history) == (order.total, order.history)
    assert await shop_.orders.read(order.id) == erased  # in the archive


async def test_the_tracking_of_an_erased_order_is_erased(shop_: Erasing) -> None:
    completed = await shop_.completed("ada")
    shipment = Shipment("shp_1", "Royal Mail", "AB123456789GB", "https://track.example/AB123456789GB")
    order = await shop_.shop.orders.transition(
        msgspec.structs.replace(completed, shipment=shipment), OrderStatus.SHIPPED, at=shop_.shop.now()
    )
    await shop_.shop.orders.settle(order)
    await shop_.archived(order)

    await shop_.eraser().erase(ADA)

    assert (await shop_.read(order)).shipment == Shipment("shp_1", "Royal Mail")
    record = await shop_.archive.read(order.id)
    assert record is not None
    assert b"AB123456789GB" not in b"".join(fields_of(record).values())
    assert (await shop_.read(order)).history == order.history


async def test_an_erased_shopper_has_no_orders_and_no_carts(shop_: Erasing) -> None:
    order = await shop_.done()
    open_cart = await shop_.shop.cart(owner="ada")
    other = await shop_.shop.cart(owner="bob")
    await shop_.eraser().erase(ADA)
    assert not await shop_.lists.places(ADA, limit=10)
    assert not await shop_.lists.places(BY_EMAIL, limit=10)
    assert not await shop_.carts.delete(order.cart_id)
    assert not await shop_.carts.delete(open_cart.id)
    assert await shop_.carts.delete(other.id)
    assert list(await shop_.lists.by_number(order.number)) == [order.id]


async def test_the_key_and_the_fingerprint_of_the_checkout_are_forgotten(shop_: Erasing) -> None:
    order = await shop_.done()
    await shop_.eraser().erase(ADA)
    receipt = await shop_.shop.orders.receipt(order.id)
    assert receipt is not None
    assert (receipt.key_hash, receipt.fingerprint) == ("", "")
    fields = fields_of(shop_.archive.records[order.id])
    assert not fields.get("key")
    assert not fields.get("body")


async def test_the_session_in_which_an_agent_placed_the_order_is_erased(
    store: Client, request: pytest.FixtureRequest
) -> None:
    shop = RedisShop(store)
    await shop.set_stock(MUG, 10)
    shop_ = Erasing(shop, request)
    order, other = await shop_.done(), await shop_.done("bob")
    for each in (order, other):
        await store.execute("SET", session_key(each.cart_id), "the buyer, sealed")
    await shop_.eraser().erase(ADA)
    assert [await store.execute("EXISTS", session_key(each.cart_id)) for each in (order, other)] == [0, 1]


async def test_an_erasure_by_address_erases_the_sessions_of_agents(shop_: Erasing) -> None:
    erased: list[str] = []

    class Sessions:
        async def erase_all_of(self, email: str) -> int:
            erased.append(email)
            return 3

    eraser = shop_.eraser(sessions=Sessions())
    assert (await eraser.erase(BY_EMAIL)).sessions == 3
    assert (await eraser.erase(ADA)).sessions == 0
    assert erased == [BY_EMAIL.name]


async def test_an_erasure_may_be_repeated(shop_: Erasing) -> None:
    order = await shop_.done()
    await shop_.eraser().erase(ADA)
    before = await shop_.read(order)
    shop_.now = 2000
    assert await shop_.eraser().erase(ADA) == ErasureReport(orders=0, erased=0, waiting=0, carts=0)
    assert await shop_.eraser().sweep() == 0
    assert await shop_.read(order) == before


async def test_orders_of_others_stay(shop_: Erasing) -> None:
    theirs = await shop_.done("bob")
    await shop_.done("ada")
    await shop_.eraser().erase(ADA)
    assert await shop_.read(theirs) == theirs
    assert [place.order_id for place in await shop_.lists.places(Shopper("owner", "bob"), limit=10)] == [theirs.id]


async def test_an_order_in_flight_is_erased_once_it_has_ended(shop_: Erasing) -> None:
    order = await shop_.archived(await shop_.ordered("ada"))
    report = await shop_.eraser().erase(ADA)
    assert (report.erased, report.waiting) == (0, 1)
    assert await shop_.read(order) == order
    for status in list(OrderStatus)[1:5]:
        order = await shop_.shop.orders.transition(order, status, at=shop_.shop.now())
    # Its last steps may still need the address of the e-mail.
    assert await shop_.eraser().sweep() == 1
    assert [place.order_id for place in await shop_.lists.places(ADA, limit=10)] == [order.id]
    await shop_.shop.orders.settle(order)
    await shop_.archived(order)
    assert await shop_.eraser().sweep() == 0
    assert (await shop_.read(order)).email == ""


async def test_a_record_that_is_under_way_to_the_archive_is_waited_for(shop_: Erasing) -> None:
    order = await shop_.completed("ada")
    early = (await shop_.records.read([order.id]))[0].record
    await shop_.eraser().erase(ADA)
    assert await shop_.requests.count() == 1
    # The relay had read it before the erasure.
    await shop_.archive.put([early])
    assert await shop_.eraser().sweep() == 0
    archived = await shop_.orders.read(order.id)
    assert archived is not None
    assert (archived.email, archived.owner) == ("", None)


async def test_an_order_that_the_archive_never_gets_is_waited_for_ten_minutes(shop_: Erasing) -> None:
    await shop_.completed("ada")
    now = 0.0
    eraser = shop_.eraser(clock=lambda: now)
    assert (await eraser.erase(ADA)).waiting == 1
    assert await eraser.sweep() == 1
    now = SETTLE_S
    assert await eraser.sweep() == 0


async def test_an_order_that_only_the_archive_has_is_erased(shop_: Erasing) -> None:
    order = await shop_.done()
    assert await shop_.sweep(keep_s=-1) == 1
    assert await shop_.shop.orders.read(order.id) is None
    assert (await shop_.eraser().erase(ADA)).erased == 1
    archived = await shop_.orders.read(order.id)
    assert archived is not None
    assert (archived.email, archived.erased_at) == ("", 1000)


async def test_an_order_of_another_region_is_left_to_an_erasure_there(shop_: Erasing) -> None:
    order = await shop_.done()
    assert await shop_.sweep(keep_s=-1) == 1
    record = msgspec.structs.replace(shop_.archive.records[order.id], home="us-east-1")
    shop_.archive.records[order.id] = record
    report = await shop_.eraser(home="eu-west-2").erase(ADA)
    assert (report.orders, report.erased, report.waiting, report.elsewhere) == (1, 0, 0, 1)
    assert (shop_.archive.records[order.id], await shop_.requests.count()) == (record, 0)
    assert (await shop_.eraser(home="us-east-1").erase(ADA)).erased == 1
    assert await shop_.lists.places(ADA, limit=10) == []


async def test_orders_from_before_their_region_had_a_name_are_erased(shop_: Erasing) -> None:
    await shop_.done()
    assert (await shop_.eraser(home="eu-west-2").erase(ADA)).erased == 1


async def test_without_an_archive_the_store_is_erased(shop_: Erasing) -> None:
    order = await shop_.completed("ada")
    assert (await shop_.eraser(archive=None, index=shop_.index).erase(ADA)).erased == 1
    assert (await shop_.read(order)).email == ""


@pytest.mark.parametrize("ran", [False, True])
async def test_without_an_archive_a_kill_at_any_instruction_leaves_no_cart_behind(
    store: Client, request: pytest.FixtureRequest, ran: bool
) -> None:
    for at in range(1, 60):
        await store.execute("FLUSHDB")
        shop = RedisShop(store)
        await shop.set_stock(MUG, 10)
        shop_ = Erasing(shop, request)
        order = await shop_.completed(None)
        failing = FailingStore(store, at=at, ran=ran, error=Killed())
        dying = shop_.eraser(
            archive=None,
            orders=RedisOrders(failing),
            documents=RedisDocuments(failing),
            requests=RedisErasures(failing),
            index=RedisOrderIndex(failing, HASHES, is_cluster=is_on_cluster(failing)),
            carts=RedisCartErasure(failing),
        )
        try:
            await dying.erase(BY_EMAIL)
            was_killed = False
        except Killed:
            was_killed = True
        sound = shop_.eraser(archive=None, index=shop_.index)
        await sound.erase(BY_EMAIL)
        assert await sound.sweep() == 0
        assert (await shop_.read(order)).email == ""
        assert [key for key in await store.execute("KEYS", "*c:*") if b"c:" in key] == []
        if not was_killed:
            assert at > 5
            return
    pytest.fail("the erasure takes more commands than were tried")


async def test_a_kill_at_any_instruction_is_continued(store: Client, request: pytest.FixtureRequest) -> None:
    """The store fails at each command in turn, before and after it has run; then the sweep of another process follows."""
    for at in range(1, 60):
        for ran in (False, True):
            await store.execute("FLUSHDB")
            shop = RedisShop(store)
            await shop.set_stock(MUG, 10)
            shop_ = Erasing(shop, request)
            order = await shop_.done()
            await shop.cart(owner="ada")
            failing = FailingStore(store, at=at, ran=ran, error=Killed())
            dying = shop_.eraser(
                orders=RedisOrders(failing),
                documents=RedisDocuments(failing),
                requests=RedisErasures(failing),
                index=RedisOrderIndex(failing, HASHES, is_cluster=is_on_cluster(failing)),
                carts=RedisCartErasure(failing),
            )
            try:
                await dying.erase(ADA)
                was_killed = False
            except Killed:
                was_killed = True
            await shop_.eraser().erase(ADA)
            assert await shop_.eraser().sweep() == 0
            erased = await shop_.read(order)
            assert (erased.email, erased.owner, erased.total) == ("", None, order.total)
            assert (await shop_.orders.read(order.id)) == erased
            assert not await shop_.lists.places(ADA, limit=10)
            assert not await shop_.lists.places(BY_EMAIL, limit=10)
            assert await store.execute("EXISTS", "privacy:erasing") == 0
            assert [key for key in await store.execute("KEYS", "*c:*") if b"c:" in key] == []
            if not was_killed:
                assert at > 10
                return
    pytest.fail("the erasure takes more commands than were tried")


# Requests


async def test_requests_are_kept_in_sequence_and_keep_their_time(shop_: Erasing) -> None:
    requests, orders = shop_.requests, [await shop_.ordered() for _ in range(4)]
    first, second, *others = (order.id for order in orders)
    await requests.enter([second], at=2)
    await requests.enter([first, second], at=1)
    await requests.enter(others, at=3)
    await requests.enter([], at=4)
    expected = [
        RequestedErasure(first, 1),
        RequestedErasure(second, 2),
        *(RequestedErasure(each, 3) for each in sorted(others)),
    ]
    seen: list[RequestedErasure] = []
    while page := await requests.waiting(limit=1, after=seen[-1] if seen else None):
        seen += page
    assert seen == expected
    await requests.finish(second)
    await requests.finish(second)
    assert await requests.count() == 3


# Documents


async def test_a_scan_of_the_documents_comes_to_every_order(shop_: Erasing) -> None:
    orders = {(await shop_.ordered()).id for _ in range(7)}
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        page = await shop_.documents.page(cursor)
        for stored in page.documents:
            assert (await shop_.order_codec.decode(stored.document)).id == stored.order_id
            seen.add(stored.order_id)
        if (cursor := page.cursor) is None:
            break
    assert seen == orders


async def test_a_document_is_replaced_if_it_is_the_one_that_was_read(shop_: Erasing) -> None:
    order = await shop_.ordered("ada")
    document = await shop_.documents.read(order.id)
    assert document is not None
    other = await shop_.order_codec.encode(msgspec.structs.replace(order.as_accepted(), email="b@example.com"))
    assert await shop_.documents.replace(order.id, document, other)
    assert not await shop_.documents.replace(order.id, document, other)
    assert (await shop_.read(order)).email == "b@example.com"
    assert await shop_.documents.read(order_missing(order).id) is None


async def test_an_order_that_changed_since_it_was_read_is_not_erased(shop_: Erasing) -> None:
    order = await shop_.completed("ada")
    document = await shop_.documents.read(order.id)
    assert document is not None
    await shop_.shop.orders.transition(order, OrderStatus.SHIPPED, at=shop_.shop.now())
    assert not await shop_.documents.erase(order, document, document)


def order_missing(order: Order) -> Order:
    return msgspec.structs.replace(order, id=type(order.id)(f"{order.id[:2]}{'a' * 24}"))


async def test_a_cart_is_deleted_once_and_others_stay(shop_: Erasing) -> None:
    mine, theirs = await shop_.shop.cart(), await shop_.shop.cart()
    assert [await shop_.carts.delete(mine.id) for _ in range(2)] == [True, False]
    assert (await shop_.shop.carts.read(theirs.id)).id == theirs.id


async def test_the_carts_of_an_owner_are_deleted(shop_: Erasing) -> None:
    for owner in ("ada", "ada", "bob", None):
        await shop_.shop.cart(owner=owner)
    assert [await shop_.carts.delete_all_of("ada") for _ in range(2)] == [2, 0]
    assert await shop_.carts.delete_all_of("bob") == 1


async def test_an_order_that_cannot_be_read_does_not_keep_others_from_their_erasure(
    store: Client, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    shop = RedisShop(store)
    await shop.set_stock(MUG, 10)
    shop_ = Erasing(shop, request)
    broken, sound = await shop_.done(), await shop_.done()
    await store.execute("HSET", order_key(broken.id), "doc", "no JSON")
    assert (await shop_.eraser().erase(ADA)).erased == 1
    assert (await shop_.read(sound)).email == ""
    assert f"order {broken.id} is not erased" in caplog.text
    assert await shop_.eraser().sweep() == 1

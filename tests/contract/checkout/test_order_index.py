"""The index of orders by owner, e-mail address and number, and the lists over it, for each adapter."""

from __future__ import annotations

import asyncio
import hashlib

import msgspec
import pytest

from cart.errors import InvalidBody
from cart.ids import new_cart_id, order_id_for
from checkout.memory.order_index import MemoryOrderIndex
from checkout.order import Order
from checkout.order_lists import OrderLists
from checkout.ports.order_index import OrderIndex, UnknownCursor
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.redis.order_index import RedisOrderIndex
from checkout.stored import unkeyed_orders_of_owner_key
from store import Client, StoreUnavailable
from tests.contract.cart.stores import is_on_cluster
from tests.contract.checkout.shop import FailingStore, RedisShop, Shop, a_request
from tests.unit.checkout.fake_services import an_order


@pytest.fixture
def index(bare_shop: Shop, request: pytest.FixtureRequest) -> OrderIndex:
    if "redis" not in request.node.callspec.id:
        return MemoryOrderIndex()
    store: Client = request.getfixturevalue("store")
    return RedisOrderIndex(store, is_cluster=is_on_cluster(store))


async def placed(shop: Shop, *, owner: str | None = None) -> Order:
    cart = await shop.cart(owner=owner)
    return (await shop.handlers().place(a_request(cart), idempotency_key=cart.id, owner=owner)).order


async def orders_of(shop: Shop, owner: str, number: int) -> list[Order]:
    """Orders that were accepted one millisecond after another, the latest first."""
    order = await placed(shop, owner=owner)
    others = [
        msgspec.structs.replace(order, id=order_id_for(new_cart_id(), 1), created_at=order.created_at + later)
        for later in range(1, number)
    ]
    return [*reversed(others), order]


async def test_pages_have_each_order_of_the_owner_once_the_latest_first(shop: Shop, index: OrderIndex) -> None:
    wanted = [order.id for order in await _entered(index, await orders_of(shop, "ada", 7))]
    await _entered(index, await orders_of(shop, "bob", 2))
    seen, after = [], None
    while True:
        page = await index.of_owner("ada", limit=3, after=after)
        seen.append(list(page.ids))
        if (after := page.cursor) is None:
            break
    assert seen == [wanted[:3], wanted[3:6], wanted[6:]]


async def test_the_last_page_may_be_full(shop: Shop, index: OrderIndex) -> None:
    await _entered(index, await orders_of(shop, "ada", 4))
    page = await index.of_owner("ada", limit=4)
    assert (len(page.ids), page.cursor) == (4, None)


async def test_new_orders_do_not_shift_the_next_page(shop: Shop, index: OrderIndex) -> None:
    newest, *older = await orders_of(shop, "ada", 4)
    await _entered(index, older)
    first = await index.of_owner("ada", limit=2)
    await _entered(index, [newest])
    second = await index.of_owner("ada", limit=2, after=first.cursor)
    assert [*first.ids, *second.ids] == [order.id for order in older]


async def test_an_order_is_entered_once_however_often_it_is_repeated(shop: Shop, index: OrderIndex) -> None:
    order = await placed(shop, owner="ada")
    await _entered(index, [order, order, order])
    assert list((await index.of_owner("ada", limit=10)).ids) == [order.id]
    assert list(await index.by_number(order.number)) == [order.id]


async def test_a_cursor_of_somebody_else_is_unknown(shop: Shop, index: OrderIndex) -> None:
    mine, theirs = await placed(shop, owner="ada"), await placed(shop, owner="bob")
    await _entered(index, [mine, theirs])
    with pytest.raises(UnknownCursor):
        await index.of_owner("ada", limit=1, after=theirs.id)
    lists = OrderLists(shop.orders, index)
    for cursor in (theirs.id, "nonsense", ""):
        with pytest.raises(InvalidBody) as refusal:
            await lists.of_owner("ada", cursor=cursor)
        assert refusal.value.errors[0][0] == "/cursor"


@pytest.mark.parametrize("limit", [0, -1, 101])
async def test_a_limit_out_of_bounds_is_refused(shop: Shop, index: OrderIndex, limit: int) -> None:
    with pytest.raises(InvalidBody):
        await OrderLists(shop.orders, index).of_owner("ada", limit=limit)


async def test_a_list_has_orders_in_their_current_state_and_skips_those_that_are_gone(
    shop: Shop, index: OrderIndex
) -> None:
    gone, order = await orders_of(shop, "ada", 2)
    await _entered(index, [gone, order])
    cancelled = await shop.handlers().cancel(order.id, owner="ada")
    page = await OrderLists(shop.orders, index).of_owner("ada")
    assert (page.orders, page.next_cursor) == ([cancelled], None)


async def test_operators_find_an_order_by_its_number_as_people_type_it_and_by_its_id(
    shop: Shop, index: OrderIndex
) -> None:
    order = await placed(shop)
    await _entered(index, [order, await placed(shop)])
    lists = OrderLists(shop.orders, index)
    number = order.number
    for text in (number, number.lower(), number.replace("-", ""), f" {number.replace('-', ' ')} ", order.id):
        assert await lists.find(text) == [order], text
    assert await lists.find("22222-22222") == []
    assert await lists.find("") == []


async def test_orders_are_found_by_their_email_address_in_any_case(shop: Shop, index: OrderIndex) -> None:
    orders = await orders_of(shop, "ada", 3)
    await _entered(index, orders)
    assert (await index.of_email("nobody@example.com", limit=10)).ids == []
    page = await index.of_email(f" {orders[0].email.upper()}", limit=2)
    assert list(page.ids) == [order.id for order in orders[:2]]
    rest = await index.of_email(orders[0].email, limit=2, after=page.cursor)
    assert (list(rest.ids), rest.cursor) == ([orders[2].id], None)


async def test_a_forgotten_order_is_found_by_its_number_only(shop: Shop, index: OrderIndex) -> None:
    kept, order = await _entered(index, await orders_of(shop, "ada", 2))
    for _ in range(2):
        await index.forget(order)
    assert list((await index.of_owner("ada", limit=10)).ids) == [kept.id]
    assert list((await index.of_email(order.email, limit=10)).ids) == [kept.id]
    assert list(await index.by_number(order.number)) == [order.id]


async def test_no_key_of_the_store_has_an_owner_or_an_address(shop: Shop, store: Client) -> None:
    orders = await orders_of(shop, "ada", 2)
    index = RedisOrderIndex(store, Pseudonyms(bytes(32)), is_cluster=is_on_cluster(store))
    await _entered(index, orders)
    keys = {key.decode() for key in await store.execute("KEYS", "[em]:*")}
    unkeyed = hashlib.sha256(orders[0].email.encode()).hexdigest()[:32]
    assert len(keys) == 2
    assert not keys & {unkeyed_orders_of_owner_key("ada"), f"e:{unkeyed}"}


async def test_an_owners_orders_under_a_hash_without_a_key_are_moved_at_the_first_look(
    shop: Shop, store: Client
) -> None:
    newest, *older = await orders_of(shop, "ada", 4)
    index, unkeyed = RedisOrderIndex(store, is_cluster=is_on_cluster(store)), unkeyed_orders_of_owner_key("ada")
    await index.enter(newest)
    for order in older:
        await store.execute("ZADD", unkeyed, order.created_at, order.id)
    for _ in range(2):
        page = await index.of_owner("ada", limit=10)
        assert list(page.ids) == [order.id for order in (newest, *older)]
    assert not await store.execute("EXISTS", unkeyed)


@pytest.mark.parametrize("is_cluster", [False, True])
async def test_orders_that_are_entered_together_are_all_found(shop: Shop, index: OrderIndex, is_cluster: bool) -> None:
    if isinstance(shop, RedisShop):
        shop.needs_calls_of(1 if is_cluster else 2)
        index = RedisOrderIndex(shop.store, is_cluster=is_cluster)
    owned, anonymous = await orders_of(shop, "ada", 2), await placed(shop)
    await asyncio.gather(*(index.enter(order) for order in (*owned, anonymous)))
    for order in (*owned, anonymous):
        assert await index.by_number(order.number) == [order.id]
    assert set((await index.of_owner("ada", limit=5)).ids) == {order.id for order in owned}
    assert set((await index.of_email(anonymous.email, limit=5)).ids) == {order.id for order in (*owned, anonymous)}


async def test_who_leaves_an_entry_does_not_take_the_others_along(shop: Shop, index: OrderIndex) -> None:
    one, other = await orders_of(shop, "ada", 2)
    left, kept = asyncio.ensure_future(index.enter(one)), asyncio.ensure_future(index.enter(other))
    left.cancel()
    await kept
    assert await index.by_number(other.number) == [other.id]


async def test_all_who_share_a_failed_call_are_told(store: Client) -> None:
    failing = FailingStore(store, at=1, ran=False, error=StoreUnavailable("away"))
    # One call for all, also where the server that it does not reach is a cluster.
    index = RedisOrderIndex(failing)
    entering = [index.enter(an_order()), index.enter(an_order())]
    for each in entering:
        with pytest.raises(StoreUnavailable):
            await each
    assert failing.count == 1


async def _entered(index: OrderIndex, orders: list[Order]) -> list[Order]:
    for order in orders:
        await index.enter(order)
    return orders

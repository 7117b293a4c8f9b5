"""Records of the next release, which have members that this one does not know: it reads them, and leaves the members alone."""

from __future__ import annotations

import msgspec
import pytest

from cart.stored import cart_key
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import NEXT, OrderStatus
from checkout.received_message import order_id_of
from checkout.stored import order_key
from store import Client
from tests.contract.checkout.shop import MUG, RedisShop, a_request

LATER_FIELD, LATER = "\1z", "gift"


@pytest.fixture
async def shop(store: Client) -> RedisShop:
    shop = RedisShop(store)
    await shop.set_stock(MUG, 10)
    return shop


async def placed(shop: RedisShop) -> Order:
    cart = await shop.cart()
    await shop.store.execute("HSET", cart_key(cart.id), LATER_FIELD, LATER)
    return (await shop.handlers().place(a_request(cart), idempotency_key=cart.id)).order


async def test_a_cart_of_a_later_release_is_read(shop: RedisShop) -> None:
    cart = await shop.cart()
    await shop.store.execute("HSET", cart_key(cart.id), LATER_FIELD, LATER)

    # Another process, which has not cached it.
    assert await RedisShop(shop.store).carts.read(cart.id) == cart


async def test_a_change_of_such_a_cart_leaves_what_the_later_release_wrote(shop: RedisShop) -> None:
    cart = await shop.cart()
    await shop.store.execute("HSET", cart_key(cart.id), LATER_FIELD, LATER)

    changed = await RedisShop(shop.store).add(cart.id, MUG, 2)

    assert changed.version == cart.version + 1
    assert await shop.store.execute("HGET", cart_key(cart.id), LATER_FIELD) == LATER.encode()


async def test_such_a_cart_is_ordered(shop: RedisShop) -> None:
    order = await placed(shop)

    assert [line.sku for line in order.lines] == [MUG]
    assert order.status is OrderStatus.ACCEPTED


async def _write_as_later(shop: RedisShop, order: Order) -> None:
    """Add a member to the order as accepted, to its state, and to its hash."""
    key = order_key(order.id)
    for name in ("doc", "state"):
        content = await shop.store.execute("HGET", key, name)
        if content is not None:
            document = msgspec.json.decode(content)
            await shop.store.execute("HSET", key, name, msgspec.json.encode({**document, "later": {"gift": True}}))
    await shop.store.execute("HSET", key, "later", LATER)


async def test_an_order_of_a_later_release_is_worked_off(shop: RedisShop) -> None:
    order = await placed(shop)
    while (to := NEXT.get(order.status)) is not None:
        await _write_as_later(shop, order)
        stored = await shop.orders.read(order.id)
        assert stored is not None
        order = await shop.orders.transition(stored, to, at=shop.now())

    assert order.status is OrderStatus.COMPLETED
    assert await shop.store.execute("HGET", order_key(order.id), "later") == LATER.encode()


async def test_a_message_of_a_later_release_is_that_of_its_order(shop: RedisShop) -> None:
    order = await placed(shop)
    message = msgspec.json.decode(order_accepted(order))
    message["later"] = message["data"]["later"] = {"gift": True}

    assert order_id_of(msgspec.json.encode(message)) == order.id

"""Checkouts and workers while the keys of personal data are away: nothing is lost, and nothing is stored in plain text."""

from __future__ import annotations

import pytest

from cart.model import Cart
from checkout.ports.keys import KeysUnavailable, SealBroken
from checkout.ports.progress import Taken
from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.order_codec import OrderCodec, key_of
from checkout.privacy.sealer import Sealer
from checkout.redis.documents import RedisDocuments
from checkout.redis.progress import RedisProgress
from checkout.stored import order_key
from gateway.compose.orders import is_store_outage
from store import Client
from tests.contract.checkout.shop import LEASE_MS, MUG, RedisShop, a_request


class Keyed(RedisShop):
    """A shop on a store whose keys can be taken away."""

    def __init__(self, store: Client, keys: MemoryKeys) -> None:
        super().__init__(store, codec=OrderCodec(Sealer(keys)))
        self.keys = keys

    async def place(self, cart: Cart) -> str:
        return (await self.handlers().place(a_request(cart), idempotency_key="k")).order.id


@pytest.fixture
async def keyed(store: Client) -> Keyed:
    shop = Keyed(store, MemoryKeys())
    await shop.set_stock(MUG, 10)
    return shop


async def test_a_checkout_without_keys_leaves_cart_stock_and_key_as_they_were(keyed: Keyed) -> None:
    keyed.keys.is_away = True
    cart = await keyed.cart()
    for _ in range(2):
        with pytest.raises(KeysUnavailable):
            await keyed.place(cart)
    assert (await keyed.available(MUG), await keyed.taken(MUG)) == (10, 0)
    assert (await keyed.carts.read(cart.id)).status == "open"
    keyed.keys.is_away = False
    assert await keyed.place(cart)


async def test_a_process_that_has_a_data_key_goes_on_without_keys(keyed: Keyed) -> None:
    await keyed.place(await keyed.cart())
    keyed.keys.is_away = True
    order_id = await keyed.place(await keyed.cart())
    assert (await keyed.handlers().read(order_id)).email == "ada@example.com"


async def test_a_worker_without_keys_takes_the_order_up_once_they_are_back(keyed: Keyed, store: Client) -> None:
    order_id = await keyed.place(await keyed.cart())
    worker = RedisProgress(store, lease_ms=LEASE_MS, codec=OrderCodec(Sealer(keyed.keys)))
    keyed.keys.is_away = True
    order = await keyed.handlers().read(order_id)
    with pytest.raises(KeysUnavailable) as caught:
        await worker.take(order.id, "w1")
    assert is_store_outage(caught.value)
    keyed.keys.is_away = False
    assert isinstance(await worker.take(order.id, "w1"), Taken)


async def test_an_order_that_was_tampered_with_is_a_fault_of_that_order(keyed: Keyed, store: Client) -> None:
    order_id, other = [await keyed.place(await keyed.cart()) for _ in range(2)]
    order = await keyed.handlers().read(order_id)
    document = await RedisDocuments(store).read(order.id)
    assert document is not None
    assert key_of(document) == "memory.1"
    await store.execute("HSET", order_key((await keyed.handlers().read(other)).id), "doc", document)
    with pytest.raises(SealBroken, match="another order"):
        await keyed.handlers().read(other)
    at = document.rindex(b'"data":"') + len(b'"data":"')
    await store.execute("HSET", order_key(order.id), "doc", document[:at] + b"AAAA" + document[at + 4 :])
    with pytest.raises(SealBroken) as caught:
        await keyed.handlers().read(order_id)
    assert not is_store_outage(caught.value)

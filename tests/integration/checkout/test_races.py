"""Many checkouts at once, from several processes' connections."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from cart.errors import Refusal
from cart.model import CartId
from checkout.errors import IdempotencyKeyInProgress, OutOfStock
from checkout.handlers import CheckoutHandlers
from checkout.purchase import PlacedOrder
from store import Client, open_client
from tests.contract.checkout.shop import BOX, MUG, RedisShop, a_request


@pytest.fixture
async def shops(store: Client, store_url: str) -> AsyncIterator[list[RedisShop]]:
    """The same shop, seen by four processes."""
    clients = [await open_client(store_url, deadline_s=5.0) for _ in range(4)]
    yield [RedisShop(client) for client in clients]
    for client in clients:
        await client.close()


def tills(shops: list[RedisShop]) -> list[CheckoutHandlers]:
    return [shop.handlers() for shop in shops]


def orders(results: list[PlacedOrder | BaseException]) -> set[str]:
    return {result.order.id for result in results if isinstance(result, PlacedOrder)}


async def test_scarce_stock_is_sold_exactly_once(shops: list[RedisShop]) -> None:
    shop, handlers = shops[0], tills(shops)
    await shop.set_stock(MUG, 17)
    carts = [await shop.cart({MUG: 2}) for _ in range(60)]
    results = await asyncio.gather(
        *(
            handlers[number % 4].place(a_request(cart), idempotency_key=f"key {number}")
            for number, cart in enumerate(carts)
        ),
        return_exceptions=True,
    )
    assert len(orders(results)) == 8
    assert all(isinstance(result, PlacedOrder | OutOfStock) for result in results)
    assert (await shop.available(MUG), await shop.taken(MUG)) == (1, 16)


async def test_two_orders_for_the_same_last_unit_never_both_get_it(shops: list[RedisShop]) -> None:
    shop, handlers = shops[0], tills(shops)
    await shop.set_stock(MUG, 3)
    await shop.set_stock(BOX, 3)
    carts = [await shop.cart({MUG: 1, BOX: 1} if number % 2 else {BOX: 1, MUG: 1}) for number in range(20)]
    waiting = dict(enumerate(carts))
    while waiting and await shop.available(MUG):
        results = await asyncio.gather(
            *(
                handlers[random.randrange(4)].place(a_request(cart), idempotency_key=f"key {number}")
                for number, cart in waiting.items()
            ),
            return_exceptions=True,
        )
        assert all(isinstance(result, PlacedOrder | OutOfStock) for result in results)
        waiting = {
            number: cart
            for (number, cart), result in zip(waiting.items(), results, strict=True)
            if isinstance(result, OutOfStock)
        }
    assert len(waiting) == 17
    for sku in (MUG, BOX):
        assert (await shop.available(sku), await shop.taken(sku)) == (0, 3)


async def test_one_cart_and_two_keys_on_four_processes_make_one_order(shops: list[RedisShop]) -> None:
    shop, handlers = shops[0], tills(shops)
    await shop.set_stock(MUG, 1000)
    for round_number in range(20):
        cart = await shop.cart({MUG: 3})
        results = await asyncio.gather(
            *(
                till.place(a_request(cart), idempotency_key=f"{round_number} {key}")
                for till in handlers
                for key in ("one", "two")
            ),
            return_exceptions=True,
        )
        assert len(orders(results)) == 1
        assert all(isinstance(result, PlacedOrder | Refusal) for result in results)
        assert sum(isinstance(result, PlacedOrder) and not result.replayed for result in results) == 1
    assert (await shop.available(MUG), await shop.taken(MUG)) == (940, 60)


async def test_the_same_key_is_answered_by_a_replay_or_by_in_progress(shops: list[RedisShop]) -> None:
    shop, handlers = shops[0], tills(shops)
    await shop.set_stock(MUG, 10)
    request = a_request(await shop.cart())
    results = [
        result
        for _ in range(5)
        for result in await asyncio.gather(
            *(till.place(request, idempotency_key="the key") for till in handlers), return_exceptions=True
        )
    ]
    assert len(orders(results)) == 1
    assert len({result.to_json() for result in results if isinstance(result, PlacedOrder)}) == 1
    assert all(isinstance(result, PlacedOrder | IdempotencyKeyInProgress) for result in results)
    assert all(isinstance(result, PlacedOrder) for result in results[4:])


async def test_a_changing_cart_is_ordered_in_one_of_its_versions(shops: list[RedisShop]) -> None:
    shop, handlers = shops[0], tills(shops)
    await shop.set_stock(MUG, 1000)
    for number in range(10):
        cart = await shop.cart({MUG: 1})
        placing = handlers[0].place(a_request(cart), idempotency_key=f"key {number}")
        placed, _ = await asyncio.gather(placing, _add_mugs(shops[1], cart.id), return_exceptions=True)
        now = await shop.carts.read(cart.id)
        if isinstance(placed, PlacedOrder):
            assert now.order_id == placed.order.id
            assert placed.order.lines[0].quantity == now.lines[0].quantity
        else:
            assert isinstance(placed, IdempotencyKeyInProgress)
    await shop.sweep()
    assert await shop.available(MUG) + await shop.taken(MUG) == 1000


async def _add_mugs(shop: RedisShop, cart_id: CartId) -> None:
    """Until the cart is closed."""
    with contextlib.suppress(Refusal):
        for _ in range(5):
            await shop.add(cart_id, MUG)

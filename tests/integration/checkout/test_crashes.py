"""A checkout dies, or loses its store, at each of its commands; the shopper tries again with the same key."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from cart.errors import Refusal
from checkout.errors import CheckoutInterrupted
from checkout.handlers import CheckoutHandlers
from checkout.redis.orders import RedisOrders
from checkout.redis.stock import RedisStock
from store import Client, StoreUnavailable
from tests.contract.checkout.shop import BOX, MUG, FailingStore, Killed, RedisShop, a_request

KEY = "the same key"


@pytest.fixture
async def shop(store: Client) -> RedisShop:
    shop = RedisShop(store)
    await shop.set_stock(MUG, 10)
    await shop.set_stock(BOX, 10)
    return shop


def handlers_on(shop: RedisShop, store: FailingStore, *, lines_per_call: int = 1) -> CheckoutHandlers:
    """With a call for each line, as on a cluster, so that it can fail between them."""
    return shop.handlers(orders=RedisOrders(store), stock=RedisStock(store, lines_per_call=lines_per_call))


async def accounts(shop: RedisShop) -> list[tuple[int, int]]:
    """Available and taken of each SKU."""
    return [(await shop.available(sku), await shop.taken(sku)) for sku in (MUG, BOX)]


@pytest.mark.parametrize(("lines_per_call", "commands"), [(64, 3), (1, 4)])
async def test_a_checkout_of_two_lines_takes_three_commands(
    shop: RedisShop, lines_per_call: int, commands: int
) -> None:
    counting = FailingStore(shop.store, at=1000, ran=False, error=Killed())
    cart = await shop.cart({MUG: 2, BOX: 1})
    handlers = handlers_on(shop, counting, lines_per_call=lines_per_call)
    await handlers.place(a_request(cart), idempotency_key=KEY)
    # The claim of cart and key; the holds; the commit.
    assert counting.count == commands


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
async def test_a_checkout_killed_at_any_command_ends_as_one_order(shop: RedisShop, at: int, ran: bool) -> None:
    cart = await shop.cart({MUG: 2, BOX: 1})
    request = a_request(cart)
    with pytest.raises(Killed):
        await handlers_on(shop, FailingStore(shop.store, at=at, ran=ran, error=Killed())).place(
            request, idempotency_key=KEY
        )
    # Its holds are valid, and once its claim has expired the shopper's next attempt finds or creates the order.
    assert all(available + taken == 10 for available, taken in await accounts(shop))
    await shop.expire_claim(cart.id)
    placed = await shop.handlers().place(request, idempotency_key=KEY)
    assert await accounts(shop) == [(8, 2), (9, 1)]
    assert (await shop.carts.read(cart.id)).order_id == placed.order.id
    waiting = await shop.outbox.unsent(per_partition=10)
    assert [entry.order_id for entry in waiting] == [placed.order.id]
    await shop.sweep()
    assert await accounts(shop) == [(8, 2), (9, 1)]
    await shop.stock.confirm(placed.order.id, placed.order.skus)


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
async def test_a_checkout_killed_at_any_command_and_not_repeated_releases_its_holds(
    shop: RedisShop, at: int, ran: bool
) -> None:
    cart = await shop.cart({MUG: 2, BOX: 1})
    with pytest.raises(Killed):
        await handlers_on(shop, FailingStore(shop.store, at=at, ran=ran, error=Killed())).place(
            a_request(cart), idempotency_key=KEY
        )
    await shop.sweep()
    is_ordered = (await shop.carts.read(cart.id)).status == "ordered"
    assert await accounts(shop) == ([(8, 2), (9, 1)] if is_ordered else [(10, 0), (10, 0)])
    assert not await shop.orders.open_claims()


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
async def test_after_a_lost_connection_the_next_attempt_need_not_wait(shop: RedisShop, at: int, ran: bool) -> None:
    cart = await shop.cart({MUG: 2, BOX: 1})
    request = a_request(cart)
    lost = StoreUnavailable("the connection was lost", may_have_run=True)
    placing = handlers_on(shop, FailingStore(shop.store, at=at, ran=ran, error=lost)).place(
        request, idempotency_key=KEY
    )
    if is_commit := (at, ran) == (4, True):
        assert not (await placing).replayed  # the commit whose reply was lost has run, which its order shows
    else:
        with pytest.raises(CheckoutInterrupted) as interrupted:
            await placing
        assert not interrupted.value.may_have_run
    assert await accounts(shop) == ([(8, 2), (9, 1)] if is_commit else [(10, 0), (10, 0)])
    placed = await shop.handlers().place(request, idempotency_key=KEY)
    assert placed.replayed is is_commit
    assert await accounts(shop) == [(8, 2), (9, 1)]


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("kind", ["killed", "lost"])
async def test_an_interrupted_refusal_leaves_nothing_held(shop: RedisShop, kind: str, ran: bool) -> None:
    for at in itertools.count(1):
        cart = await shop.cart({MUG: 2, BOX: 11})
        error: BaseException = Killed() if kind == "killed" else StoreUnavailable("lost", may_have_run=True)
        failing = FailingStore(shop.store, at=at, ran=ran, error=error)
        with contextlib.suppress(Killed, CheckoutInterrupted, Refusal):
            await handlers_on(shop, failing).place(a_request(cart), idempotency_key=f"{KEY} {at}")
        await shop.sweep()
        assert await accounts(shop) == [(10, 0), (10, 0)]
        if failing.count < at:
            break
    assert not await shop.orders.open_claims()


async def test_a_checkout_killed_repeatedly_ends_as_one_order(shop: RedisShop) -> None:
    cart = await shop.cart({MUG: 2, BOX: 1})
    request = a_request(cart)
    for at, ran in itertools.product((2, 3, 4), (False, True)):
        with contextlib.suppress(Killed):
            await handlers_on(shop, FailingStore(shop.store, at=at, ran=ran, error=Killed())).place(
                request, idempotency_key=KEY
            )
        await shop.expire_claim(cart.id)
        await shop.sweep()
    placed = await shop.handlers().place(request, idempotency_key=KEY)
    await shop.sweep()
    assert placed.order.id == (await shop.carts.read(cart.id)).order_id
    assert await accounts(shop) == [(8, 2), (9, 1)]

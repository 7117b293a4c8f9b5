"""The contract of a checkout with shoppers, for both adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from cart.errors import CartClosed, CartNotFound, IdempotencyKeyMissing, IdempotencyKeyReused, InvalidBody, Refusal
from cart.ids import order_id_for
from cart.model import Cart, CartId, Money, Terms
from cart.scheduled_prices import ScheduledPrice
from checkout.errors import (
    CancelTooLate,
    CartEmpty,
    ChangedPrice,
    HoldOutcome,
    IdempotencyKeyInProgress,
    OrderNotFound,
    OutOfStock,
    PriceChanged,
    Shortage,
    TotalMismatch,
)
from checkout.order_status import NEXT, CancelReason, OrderStatus
from checkout.ports.orders import AlreadyOrdered, Claim, Claimed, MergeUnfinished
from checkout.ports.stock import Stock
from checkout.pricing import CLOCK_SKEW_MS
from checkout.request import LONGEST_BODY, PaymentBody
from checkout.sold_out import REMEMBERED_S, SoldOut
from checkout.workflow.orders import WITHOUT_DISCOUNTS
from tests.contract.checkout.shop import ADDRESS, BOX, MUG, AllOrders, Shop, a_claim, a_request, flat_rates, pounds

KEY = "4f1c-key"
YEAR_MS = 365 * 86_400_000


async def nothing_happened(shop: Shop, cart: Cart) -> bool:
    """Whether cart, stock, claim and key are as before, and no claim is left to sweep."""
    return (
        await shop.carts.read(cart.id) == cart
        and (await shop.available(MUG), await shop.taken(MUG)) == (10, 0)
        and (await shop.available(BOX), await shop.taken(BOX)) == (10, 0)
        and not await shop.orders.open_claims()
        and isinstance(await shop.orders.begin(a_claim(cart, "a probe")), Claimed)
        and shop.dispatched == []
    )


async def test_a_cart_becomes_an_order(shop: Shop) -> None:
    cart = await shop.cart({MUG: 2, BOX: 1})
    placed = await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert not placed.replayed
    order = placed.order
    body = msgspec.json.decode(placed.to_json())
    assert body == {
        "id": order_id_for(cart.id, cart.version),
        "number": order.number,
        "cart_id": cart.id,
        "status": "accepted",
        "lines": [
            {"sku": MUG, "name": f"the {MUG}", "quantity": 2, "unit_price": gbp(255), "total": gbp(510)},
            {"sku": BOX, "name": f"the {BOX}", "quantity": 1, "unit_price": gbp(1000), "total": gbp(1000)},
        ],
        "subtotal": gbp(1510),
        "discounts": [],
        "shipping": gbp(0),
        "total": gbp(1510),
        "email": "ada@example.com",
        "created_at": body["created_at"],
        "updated_at": body["created_at"],
        "history": [{"status": "accepted", "at": body["created_at"]}],
    }
    assert await shop.handlers().read(order.id) == order
    assert (await shop.carts.read(cart.id)).order_id == order.id
    assert (await shop.available(MUG), await shop.taken(MUG)) == (8, 2)


async def test_an_order_keeps_the_version_of_the_workflow_with_which_it_was_accepted(shop: Shop) -> None:
    cart = await shop.cart()
    order = (await shop.handlers().place(a_request(cart), idempotency_key=KEY)).order
    moved = await shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=shop.now())

    stored = await shop.orders.read(order.id)
    assert stored == moved
    assert stored.workflow == WITHOUT_DISCOUNTS.version >= 1


async def test_the_message_of_an_order_goes_to_the_dispatcher_and_waits_in_the_outbox(shop: Shop) -> None:
    placed = await shop.handlers(message=lambda order: order.id.encode()).place(
        a_request(await shop.cart()), idempotency_key=KEY
    )
    (entry,) = shop.dispatched
    assert (entry.order_id, entry.message) == (placed.order.id, placed.order.id.encode())
    assert await shop.outbox.unsent(per_partition=10) == [entry]


async def test_a_replay_has_the_same_bytes_in_every_status(shop: Shop) -> None:
    request = a_request(await shop.cart())
    placed = await shop.handlers().place(request, idempotency_key=KEY)
    order = placed.order
    while order.status in NEXT:
        order = await shop.orders.transition(order, NEXT[order.status], at=shop.now() + 1000)
        again = await shop.handlers().place(request, idempotency_key=KEY)
        assert again.replayed
        assert again.to_json() == placed.to_json()
    assert len(shop.dispatched) == 1
    assert (await shop.handlers().read(order.id)).status is OrderStatus.COMPLETED


async def test_the_same_body_in_another_format_is_a_replay(shop: Shop) -> None:
    request = a_request(await shop.cart())
    first = await shop.handlers().place(request, idempotency_key=KEY)
    decoded = msgspec.json.decode(msgspec.json.format(msgspec.json.encode(request)), type=type(request))
    assert (await shop.handlers().place(decoded, idempotency_key=KEY)).order == first.order


async def test_the_same_key_with_another_body_is_refused(shop: Shop) -> None:
    cart = await shop.cart()
    await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    with pytest.raises(IdempotencyKeyReused):
        await shop.handlers().place(a_request(cart, email="eve@example.com"), idempotency_key=KEY)


@pytest.mark.parametrize(("one", "other"), [(None, None), ("ada", "bob"), ("ada", "ada"), (None, "ada")])
async def test_the_same_key_with_another_cart_is_another_checkout(
    shop: Shop, one: str | None, other: str | None
) -> None:
    carts = [await shop.cart(owner=one), await shop.cart(owner=other)]
    placed = [
        await shop.handlers().place(a_request(cart), idempotency_key=KEY, owner=owner)
        for cart, owner in zip(carts, (one, other), strict=True)
    ]
    assert [each.replayed for each in placed] == [False, False]
    assert [each.order.cart_id for each in placed] == [cart.id for cart in carts]


async def test_a_repeated_checkout_is_known_as_a_replay_by_its_body_and_key(shop: Shop) -> None:
    cart, other = await shop.cart(), await shop.cart()
    handlers, body = shop.handlers(), msgspec.json.encode(a_request(cart))
    assert not await handlers.is_replay(body, idempotency_key=KEY)
    await handlers.place(a_request(cart), idempotency_key=KEY)
    assert await handlers.is_replay(body, idempotency_key=KEY)
    assert not await handlers.is_replay(body, idempotency_key="another")
    assert not await handlers.is_replay(msgspec.json.encode(a_request(other)), idempotency_key=KEY)
    for key in (None, "", "caf\u00e9"):
        assert not await handlers.is_replay(body, idempotency_key=key)
    for bad in (
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"cart_id":7}',
        b'{"cart_id":"7f}o:x"}',
        b"\xff",
        b'{"x":' * 3000,
        body + b" " * LONGEST_BODY,
    ):
        assert not await handlers.is_replay(bad, idempotency_key=KEY)


async def test_a_signed_in_checkout_of_an_anonymous_cart_makes_the_order_theirs(shop: Shop) -> None:
    cart, handlers = await shop.cart(), shop.handlers()
    placed = await handlers.place(a_request(cart), idempotency_key=KEY, owner="ada")
    assert placed.order.owner == "ada"
    assert await handlers.read(placed.order.id, owner="ada") == placed.order
    for other in (None, "bob"):
        with pytest.raises(OrderNotFound):
            await handlers.read(placed.order.id, owner=other)
        with pytest.raises(OrderNotFound):
            await handlers.cancel(placed.order.id, owner=other)
        # Nor by the cart, whose id others may know, with the key and body of the first request.
        with pytest.raises(CartClosed):
            await handlers.place(a_request(cart), idempotency_key=KEY, owner=other)
    assert (await handlers.place(a_request(cart), idempotency_key=KEY, owner="ada")).replayed


async def test_an_anonymous_order_stays_anonymous_when_its_shopper_signs_in_before_the_retry(shop: Shop) -> None:
    cart, handlers = await shop.cart(), shop.handlers()
    placed = await handlers.place(a_request(cart), idempotency_key=KEY)
    again = await handlers.place(a_request(cart), idempotency_key=KEY, owner="ada")
    assert (again.replayed, again.order) == (True, placed.order)
    assert again.order.owner is None


async def test_the_shipping_address_is_shown_to_the_signed_in_owner_only(shop: Shop) -> None:
    theirs = await shop.handlers().place(a_request(await shop.cart()), idempotency_key=KEY, owner="ada")
    anonymous = await shop.handlers().place(a_request(await shop.cart()), idempotency_key=KEY)
    shown = msgspec.json.decode(theirs.to_json())["shipping_address"]
    assert shown == {
        "name": "Ada Lovelace",
        "line1": "12 St James's Square",
        "city": "London",
        "postcode": "SW1Y 4JH",
        "country": "GB",
    }
    read = await shop.handlers().read(theirs.order.id, owner="ada")
    assert msgspec.json.decode(read.to_json())["shipping_address"] == shown
    # Whoever has the link of an anonymous cart has its order's id too.
    assert "shipping_address" not in msgspec.json.decode(anonymous.to_json())


async def test_an_ordered_cart_is_closed_to_another_key(shop: Shop) -> None:
    cart = await shop.cart()
    placed = await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    with pytest.raises(CartClosed) as refusal:
        await shop.handlers().place(a_request(cart), idempotency_key="another")
    assert refusal.value.order_id == placed.order.id


async def test_the_cart_of_a_lost_order_is_closed_and_no_checkout_in_progress(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    cart = await shop.cart()
    placed = await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    await shop.lose_order(placed.order.id)
    with pytest.raises(CartClosed) as refusal:
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert refusal.value.order_id == placed.order.id
    assert placed.order.number in caplog.text


@pytest.mark.parametrize("skew_ms", [-10 * YEAR_MS, -300_000, 300_000, 10 * YEAR_MS])
async def test_processes_whose_clocks_differ_place_one_order(shop: Shop, skew_ms: int) -> None:
    def skewed() -> int:
        return shop.now() + skew_ms

    cart = await shop.cart({MUG: 2, BOX: 1})
    await shop.orders.begin(a_claim(cart, "a process that dies"))
    with pytest.raises(IdempotencyKeyInProgress):
        await shop.handlers(clock_ms=skewed).place(a_request(cart), idempotency_key=KEY)
    await shop.expire_claim(cart.id)
    placed = await shop.handlers(clock_ms=skewed).place(a_request(cart), idempotency_key=KEY)
    again = await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert (again.replayed, again.to_json()) == (True, placed.to_json())
    assert await shop.sweep() == 0
    assert (await shop.available(MUG), await shop.taken(MUG)) == (8, 2)
    cancelled = await shop.handlers().cancel(placed.order.id)
    assert [entry.at for entry in cancelled.history] == sorted(entry.at for entry in cancelled.history)


async def test_a_refused_checkout_changes_nothing(shop: Shop) -> None:
    cart = await shop.cart({MUG: 11, BOX: 1})
    with pytest.raises(OutOfStock):
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert await nothing_happened(shop, cart)
    await shop.expire_claim(cart.id)
    await shop.set_stock(MUG, 11)
    changed = a_request(cart, expected_total=pounds(11 * 255 + 1000))
    assert not (await shop.handlers().place(changed, idempotency_key=KEY)).replayed


async def test_an_empty_cart_cannot_be_ordered(shop: Shop) -> None:
    cart = await shop.cart({})
    with pytest.raises(CartEmpty):
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert await nothing_happened(shop, cart)


async def test_a_shortage_names_each_line_and_leaves_nothing_held(shop: Shop) -> None:
    await shop.set_stock(BOX, 10)
    cart = await shop.cart({MUG: 11, BOX: 3})
    with pytest.raises(OutOfStock) as refusal:
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert refusal.value.lines == [Shortage(MUG, 11, 10)]
    assert await nothing_happened(shop, cart)


@pytest.mark.parametrize("currency", [None, "EUR"])
async def test_a_product_that_is_no_longer_sold_is_out_of_stock(shop: Shop, currency: str | None) -> None:
    cart = await shop.cart({MUG: 1, BOX: 2})
    if currency is None:
        del shop.prices.sold[BOX]
    else:
        shop.prices.reprice(BOX, 1000, currency)
    with pytest.raises(OutOfStock) as refusal:
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert refusal.value.lines == [Shortage(BOX, 2, 0)]
    assert await nothing_happened(shop, cart)


async def test_a_changed_price_is_refused_without_consent(shop: Shop) -> None:
    cart = await shop.cart({MUG: 2, BOX: 1})
    shop.prices.reprice(MUG, 300)
    for expected in (None, pounds(2 * 255 + 1000)):
        with pytest.raises(PriceChanged) as refusal:
            await shop.handlers().place(a_request(cart, expected_total=expected), idempotency_key=KEY)
        assert refusal.value.lines == [ChangedPrice(MUG, was=Money(255, "GBP"), now=Money(300, "GBP"))]
        assert refusal.value.total == Money(1600, "GBP")
    assert await nothing_happened(shop, cart)


async def test_the_right_total_is_consent_to_a_changed_price(shop: Shop) -> None:
    cart = await shop.cart({MUG: 2})
    shop.prices.reprice(MUG, 300)
    placed = await shop.handlers().place(a_request(cart, expected_total=pounds(600)), idempotency_key=KEY)
    assert placed.order.total == 600


@pytest.mark.parametrize(("since_start", "price"), [(-CLOCK_SKEW_MS - 1, 255), (0, 199), (60_000, 199)])
async def test_a_checkout_charges_the_price_of_its_instant(shop: Shop, since_start: int, price: int) -> None:
    cart = await shop.cart({MUG: 2})
    now = shop.now()
    sale = ScheduledPrice(199, now - since_start, now + 3_600_000)
    mug = msgspec.structs.replace(shop.prices.sold[MUG], terms=Terms(scheduled_prices=(sale,)))
    # As the mapping was before the start.
    shop.prices.sold = shop.prices.sold | {MUG: mug.at(now - since_start - 1)}
    request = a_request(cart, expected_total=pounds(2 * price))
    placed = await shop.handlers(clock_ms=lambda: now).place(request, idempotency_key=KEY)
    assert [line.unit_price for line in placed.order.lines] == [price]


async def test_a_wrong_total_is_refused_with_the_right_one(shop: Shop) -> None:
    cart = await shop.cart({MUG: 2})
    for expected in (pounds(509), msgspec.structs.replace(pounds(510), currency="EUR")):
        with pytest.raises(TotalMismatch) as refusal:
            await shop.handlers().place(a_request(cart, expected_total=expected), idempotency_key=KEY)
        assert refusal.value.total == Money(510, "GBP")
    assert await nothing_happened(shop, cart)


async def test_shipping_is_part_of_the_total(shop: Shop) -> None:
    handlers = shop.handlers(tariff=flat_rates(standard=0, express=695))
    request = a_request(await shop.cart({MUG: 2}), shipping_method="express", expected_total=pounds(1205))
    placed = await handlers.place(request, idempotency_key=KEY)
    assert (placed.order.shipping_method, placed.order.shipping, placed.order.total) == ("express", 695, 1205)


@pytest.mark.parametrize("cart_id", ["", "7f", "7f}c:x", "7FABCDEFGHIJKLMNOPQRSTUVWX", "b573mnjufytctwj2g6h3tb4akq"])
async def test_an_unknown_cart_is_not_found(shop: Shop, cart_id: str) -> None:
    with pytest.raises(CartNotFound):
        await shop.handlers().place(a_request(CartId(cart_id)), idempotency_key=KEY)


async def test_a_shoppers_cart_and_order_are_not_found_by_others(shop: Shop) -> None:
    cart = await shop.cart(owner="ada")
    with pytest.raises(CartNotFound):
        await shop.handlers().place(a_request(cart), idempotency_key=KEY, owner="bob")
    placed = await shop.handlers().place(a_request(cart), idempotency_key=KEY, owner="ada")
    for owner in (None, "bob"):
        with pytest.raises(OrderNotFound):
            await shop.handlers().read(placed.order.id, owner=owner)
    assert await shop.handlers().read(placed.order.id, owner="ada") == placed.order


async def test_replay_and_cancel_are_for_the_owner_only(shop: Shop) -> None:
    cart, handlers = await shop.cart(owner="ada"), shop.handlers()
    placed = await handlers.place(a_request(cart), idempotency_key=KEY, owner="ada")
    for owner in (None, "bob"):
        with pytest.raises(CartNotFound):
            await handlers.place(a_request(cart), idempotency_key=KEY, owner=owner)
        with pytest.raises(OrderNotFound):
            await handlers.cancel(placed.order.id, owner=owner)
    replayed = await handlers.place(a_request(cart), idempotency_key=KEY, owner="ada")
    assert (replayed.replayed, replayed.order.id) == (True, placed.order.id)
    assert (await handlers.cancel(placed.order.id, owner="ada")).owner == "ada"


@pytest.mark.parametrize("order_id", ["", "nonsense", "7f}o:x", "a4sry36swlmiez6yaqzeomtgmh"])
async def test_an_unknown_order_is_not_found(shop: Shop, order_id: str) -> None:
    with pytest.raises(OrderNotFound):
        await shop.handlers().read(order_id)


@pytest.mark.parametrize("key", [None, "", "x" * 256, "caf\u00e9", "line\nbreak", "\u0000"])
async def test_a_key_is_1_to_255_printable_ascii_characters(shop: Shop, key: str | None) -> None:
    with pytest.raises(IdempotencyKeyMissing) as refusal:
        await shop.handlers().place(a_request(await shop.cart()), idempotency_key=key)
    assert "Idempotency-Key" in refusal.value.detail


@pytest.mark.parametrize("key", ["x", "x" * 255, 'a key: "with" {quotes}'])
async def test_any_printable_key_is_accepted(shop: Shop, key: str) -> None:
    assert not (await shop.handlers().place(a_request(await shop.cart()), idempotency_key=key)).replayed


async def test_every_fault_of_the_contents_is_named_by_its_pointer(shop: Shop) -> None:
    cart = await shop.cart()
    address = msgspec.structs.replace(ADDRESS, name="  ", city="Lon\ndon", line2="\x7f")
    request = a_request(
        cart, email="nobody", shipping_address=address, payment=PaymentBody(" "), shipping_method="by owl"
    )
    with pytest.raises(InvalidBody) as refusal:
        await shop.handlers().place(request, idempotency_key=KEY)
    assert sorted(pointer for pointer, _ in refusal.value.errors) == [
        "/email",
        "/payment/token",
        "/shipping_address/city",
        "/shipping_address/line2",
        "/shipping_address/name",
        "/shipping_method",
    ]
    assert await nothing_happened(shop, cart)


async def test_a_cart_merged_into_another_is_closed(shop: Shop) -> None:
    cart, target = await shop.cart(), await shop.cart()
    await shop.carts.merge(target.id, cart.id, "sum", write=shop.write())
    with pytest.raises(CartClosed) as refusal:
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert refusal.value.order_id is None


class CountedHolds:
    """The shop's stock, which counts the checkouts that ask for some."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)

    async def hold(self, *args: Any, **options: Any) -> list[HoldOutcome]:
        self.asked += 1
        return await self._stock.hold(*args, **options)


async def test_the_crowd_behind_the_last_unit_is_refused_without_asking_for_stock(shop: Shop) -> None:
    now = 0.0
    sold_out = SoldOut(clock=lambda: now)
    stock: Any = CountedHolds(shop.stock)
    handlers = shop.handlers(stock=stock, sold_out=sold_out)
    await shop.set_stock(MUG, 1)
    carts = [await shop.cart({MUG: 2, BOX: 1}) for _ in range(5)]
    for cart in carts:
        with pytest.raises(OutOfStock) as refusal:
            await handlers.place(a_request(cart), idempotency_key=KEY)
        assert refusal.value.lines == [Shortage(MUG, 2, 1)]
    assert (stock.asked, sold_out.refused) == (1, 4)
    one = await shop.cart({MUG: 1})
    assert not (await handlers.place(a_request(one), idempotency_key=KEY)).replayed, "the unit that is left is for sale"
    assert (await handlers.place(a_request(one), idempotency_key=KEY)).replayed, "an order is no checkout"
    await shop.set_stock(MUG, 10)
    now = REMEMBERED_S
    assert not (await handlers.place(a_request(carts[0]), idempotency_key=KEY)).replayed


class Interfering:
    """The shop's orders; something happens right after a cart was claimed, as often as planned."""

    def __init__(self, orders: AllOrders, happens: Any, *, times: int = 1) -> None:
        self._orders = orders
        self._happens = happens
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._orders, name)

    async def begin(self, claim: Claim, **options: Any) -> Claimed | AlreadyOrdered | MergeUnfinished:
        begun = await self._orders.begin(claim, **options)
        if self._times:
            self._times -= 1
            await self._happens()
        return begun


async def test_a_cart_that_changes_meanwhile_is_ordered_as_it_became(shop: Shop) -> None:
    cart = await shop.cart({MUG: 2})
    orders: Any = Interfering(shop.orders, lambda: shop.add(cart.id, BOX))
    placed = await shop.handlers(orders=orders).place(a_request(cart), idempotency_key=KEY)
    assert [(line.sku, line.quantity) for line in placed.order.lines] == [(MUG, 2), (BOX, 1)]
    assert (await shop.available(MUG), await shop.taken(MUG)) == (8, 2)
    assert (await shop.available(BOX), await shop.taken(BOX)) == (9, 1)


async def test_consent_to_a_total_does_not_cover_lines_added_meanwhile(shop: Shop) -> None:
    cart = await shop.cart({MUG: 2})
    orders: Any = Interfering(shop.orders, lambda: shop.add(cart.id, BOX))
    with pytest.raises(TotalMismatch):
        await shop.handlers(orders=orders).place(a_request(cart, expected_total=pounds(510)), idempotency_key=KEY)
    assert (await shop.available(MUG), await shop.taken(MUG)) == (10, 0)


async def test_a_cart_that_changes_at_every_attempt_is_refused(shop: Shop) -> None:
    cart = await shop.cart({MUG: 1})
    orders: Any = Interfering(shop.orders, lambda: shop.add(cart.id, MUG), times=3)
    with pytest.raises(IdempotencyKeyInProgress):
        await shop.handlers(orders=orders).place(a_request(cart), idempotency_key=KEY)
    assert (await shop.available(MUG), await shop.taken(MUG)) == (10, 0)
    placed = await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert placed.order.lines[0].quantity == 4
    await shop.sweep()
    assert (await shop.available(MUG), await shop.taken(MUG)) == (6, 4)


async def test_a_cart_deleted_meanwhile_is_not_found(shop: Shop) -> None:
    cart = await shop.cart()
    orders: Any = Interfering(shop.orders, lambda: shop.carts.delete(cart.id, write=shop.write()))
    with pytest.raises(CartNotFound):
        await shop.handlers(orders=orders).place(a_request(cart), idempotency_key=KEY)
    assert (await shop.available(MUG), await shop.taken(MUG)) == (10, 0)


async def test_an_expired_claim_cannot_order_a_cart_that_another_ordered(shop: Shop) -> None:
    cart = await shop.cart()
    request = a_request(cart)

    async def another_is_faster() -> None:
        await shop.expire_claim(cart.id)
        await shop.handlers().place(request, idempotency_key=KEY)

    orders: Any = Interfering(shop.orders, another_is_faster)
    with pytest.raises(IdempotencyKeyInProgress):
        # Its hold comes too late: the order's stock belongs to the faster one.
        await shop.handlers(orders=orders).place(request, idempotency_key=KEY)
    assert (await shop.handlers().place(request, idempotency_key=KEY)).replayed
    assert (await shop.available(MUG), await shop.taken(MUG)) == (8, 2)
    assert len(shop.dispatched) == 1


async def test_one_key_many_times_at_once_makes_one_order(shop: Shop) -> None:
    request = a_request(await shop.cart())
    handlers = shop.handlers()
    results = await asyncio.gather(
        *(handlers.place(request, idempotency_key=KEY) for _ in range(20)), return_exceptions=True
    )
    placed = [result for result in results if not isinstance(result, BaseException)]
    assert all(isinstance(result, IdempotencyKeyInProgress) for result in results if result not in placed)
    assert [result.replayed for result in placed].count(False) == 1
    assert len({result.to_json() for result in placed}) == 1
    assert (await shop.available(MUG), await shop.taken(MUG)) == (8, 2)


async def test_one_cart_many_keys_makes_one_order(shop: Shop) -> None:
    cart = await shop.cart()
    handlers = shop.handlers()
    results = await asyncio.gather(
        *(handlers.place(a_request(cart), idempotency_key=f"key {n}") for n in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert all(isinstance(result, Refusal) for result in results if isinstance(result, BaseException))
    assert len(shop.dispatched) == 1
    assert (await shop.available(MUG), await shop.taken(MUG)) == (8, 2)


async def test_a_client_that_disconnects_gets_the_order_by_a_replay(shop: Shop) -> None:
    request = a_request(await shop.cart())
    handlers = shop.handlers()
    asking = asyncio.create_task(handlers.place(request, idempotency_key=KEY))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await handlers.close()
    assert (await handlers.place(request, idempotency_key=KEY)).replayed


async def test_an_order_can_be_cancelled_until_its_shipment_is_arranged(shop: Shop) -> None:
    handlers = shop.handlers()
    order = (await handlers.place(a_request(await shop.cart()), idempotency_key=KEY)).order
    cancelled = await handlers.cancel(order.id)
    assert (cancelled.status, cancelled.reason) == (OrderStatus.CANCELLED, CancelReason.REQUESTED)
    assert await handlers.cancel(order.id) == cancelled
    # The worker gets the same message again and finds the order cancelled.
    assert [entry.message for entry in shop.dispatched] == [shop.dispatched[0].message] * 2
    body = msgspec.json.decode(cancelled.to_json())
    assert (body["status"], body["reason"]) == ("cancelled", "requested")


async def test_an_order_whose_shipment_is_arranged_cannot_be_cancelled(shop: Shop) -> None:
    handlers = shop.handlers()
    order = (await handlers.place(a_request(await shop.cart()), idempotency_key=KEY)).order
    for status in (
        OrderStatus.STOCK_CONFIRMED,
        OrderStatus.PAYMENT_AUTHORISED,
        OrderStatus.SHIPPING_ARRANGED,
        OrderStatus.COMPLETED,
        OrderStatus.SHIPPED,
        OrderStatus.DELIVERED,
        OrderStatus.RETURNED,
    ):
        order = await shop.orders.transition(order, status, at=shop.now())
        if status in {OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED}:
            continue
        with pytest.raises(CancelTooLate) as refusal:
            await handlers.cancel(order.id)
        assert refusal.value.status == status


def gbp(amount: int) -> Mapping[str, Any]:
    return {"amount": amount, "currency": "GBP"}

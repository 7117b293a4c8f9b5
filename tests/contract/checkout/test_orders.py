"""The contract of `Orders`, `OpenClaims` and `Outbox`, for both adapters."""

from __future__ import annotations

import msgspec
import pytest

from cart.errors import CartClosed, CartNotFound, IdempotencyKeyReused
from cart.ids import new_cart_id, order_id_for
from cart.model import Cart, OrderId, Sku
from checkout.amounts import OrderLine
from checkout.errors import IdempotencyKeyInProgress, OutOfStock, Shortage, StatusConflict
from checkout.order import HistoryEntry, Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.outbox import OutboxDispatcher
from checkout.payments.payment import Payment
from checkout.ports.orders import AlreadyOrdered, Claimed, Committed
from checkout.ports.stock import StockLine
from checkout.sweeper import AGE_S, StockSweeper
from tests.contract.checkout.shop import ADDRESS, BOX, LIMITS, MUG, Shop, a_claim, a_request
from tests.unit.checkout.fake_services import MemoryQueue

A_MINUTE_MS = 60_000
YEAR_MS = 365 * 86_400_000


def order_of(cart: Cart, at: int) -> Order:
    return Order(
        id=order_id_for(cart.id, cart.version),
        cart_id=cart.id,
        currency=cart.currency,
        lines=tuple(OrderLine(line.sku, "Mug \u2013 \u2615", line.quantity, line.quoted) for line in cart.lines),
        shipping_method="standard",
        shipping=0,
        email="ada@example.com",
        shipping_address=a_request(cart).address(),
        payment_token="tok_ok",
        created_at=at,
        updated_at=at,
        history=(HistoryEntry(OrderStatus.ACCEPTED, at),),
    )


async def begun(shop: Shop, cart: Cart, token: str = "t1") -> Claimed:
    claimed = await shop.orders.begin(a_claim(cart, token))
    assert isinstance(claimed, Claimed)
    return claimed


async def ordered(shop: Shop, cart: Cart) -> tuple[Order, Committed]:
    await begun(shop, cart)
    order = order_of(cart, shop.now())
    committed = await shop.orders.commit(a_claim(cart), order, cart_version=cart.version, message=b"{}")
    assert committed is not None
    return order, committed


async def test_a_claim_returns_the_cart(shop: Shop) -> None:
    cart = await shop.cart()
    claimed = await begun(shop, cart)
    assert claimed.cart == cart
    assert not claimed.may_have_holds


async def test_a_claimed_cart_is_refused_to_other_claims_until_it_is_released(shop: Shop) -> None:
    cart = await shop.cart()
    first = await begun(shop, cart)
    with pytest.raises(IdempotencyKeyInProgress):
        await shop.orders.begin(a_claim(cart, "t2"))
    assert await shop.orders.release(a_claim(cart, "t1"), nothing_held=True)
    assert (await begun(shop, cart, "t2")).fence > first.fence


async def test_a_cart_that_wants_more_than_is_left_is_not_claimed(shop: Shop) -> None:
    cart = await shop.cart({MUG: 3, BOX: 2})
    with pytest.raises(OutOfStock) as refusal:
        await shop.orders.begin(a_claim(cart), units_left={BOX: 0, Sku("other"): 0, MUG: 2})
    assert sorted(refusal.value.lines, key=lambda line: line.sku) == [Shortage(MUG, 3, 2), Shortage(BOX, 2, 0)]
    assert not await shop.orders.release(a_claim(cart), nothing_held=True)
    assert not await shop.orders.has_key(cart.id, a_claim(cart).key_hash)
    assert not (await begun(shop, cart, "t2")).may_have_holds


async def test_a_cart_that_wants_no_more_than_is_left_is_claimed(shop: Shop) -> None:
    cart = await shop.cart({MUG: 3})
    assert isinstance(await shop.orders.begin(a_claim(cart), units_left={MUG: 3, BOX: 0}), Claimed)


async def test_a_cart_that_may_hold_what_is_missing_is_claimed(shop: Shop) -> None:
    cart = await shop.cart({MUG: 3})
    await begun(shop, cart, "t1")
    await shop.expire_claim(cart.id)
    claimed = await shop.orders.begin(a_claim(cart, "t2"), units_left={MUG: 0})
    assert isinstance(claimed, Claimed)
    assert claimed.may_have_holds


async def test_what_is_no_open_cart_is_not_compared_with_stock(shop: Shop) -> None:
    cart = await shop.cart({MUG: 3})
    await begun(shop, cart, "t1")
    with pytest.raises(IdempotencyKeyInProgress):
        await shop.orders.begin(a_claim(cart, "t2"), units_left={MUG: 0})
    order = order_of(cart, shop.now())
    assert await shop.orders.commit(a_claim(cart), order, cart_version=cart.version, message=b"{}") is not None
    assert await shop.orders.begin(a_claim(cart, "t3"), units_left={MUG: 0}) == AlreadyOrdered(order.id)
    with pytest.raises(CartNotFound):
        await shop.orders.begin(a_claim(new_cart_id()), units_left={MUG: 0})


async def test_an_expired_claim_cannot_commit(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart, "t1")
    await shop.expire_claim(cart.id)
    order = order_of(cart, shop.now())
    assert await shop.orders.commit(a_claim(cart), order, cart_version=cart.version, message=b"{}") is None
    assert not await shop.orders.release(a_claim(cart), nothing_held=False)
    assert (await begun(shop, cart, "t2")).may_have_holds


async def test_the_same_claim_may_begin_again(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    changed = await shop.add(cart.id, MUG)
    claimed = await begun(shop, cart)
    assert claimed.cart == changed


async def test_an_unknown_cart_or_one_of_another_shopper_cannot_be_claimed(shop: Shop) -> None:
    with pytest.raises(CartNotFound):
        await shop.orders.begin(a_claim(new_cart_id()))
    cart = await shop.cart(owner="ada")
    for owner in (None, "bob"):
        with pytest.raises(CartNotFound):
            await shop.orders.begin(a_claim(cart, owner=owner))
    assert isinstance(await shop.orders.begin(a_claim(cart, owner="ada")), Claimed)


async def test_a_merged_cart_cannot_be_claimed(shop: Shop) -> None:
    cart, target = await shop.cart(), await shop.cart()
    await shop.carts.merge(target.id, cart.id, "sum", write=shop.write())
    with pytest.raises(CartClosed) as refusal:
        await shop.orders.begin(a_claim(cart))
    assert refusal.value.order_id is None


async def test_a_key_serves_one_body(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    with pytest.raises(IdempotencyKeyReused):
        await shop.orders.begin(a_claim(cart, "t2", body="b2"))
    # The refused call claimed nothing, and left the claim alone.
    assert await shop.orders.release(a_claim(cart), nothing_held=True)


async def test_a_key_belongs_to_its_cart(shop: Shop) -> None:
    ours, theirs = await shop.cart(), await shop.cart()
    await ordered(shop, ours)
    assert not await shop.orders.has_key(theirs.id, "k1")
    assert isinstance(await shop.orders.begin(a_claim(theirs, "t2", body="b2")), Claimed)
    assert await shop.orders.has_key(theirs.id, "k1")


async def test_the_key_of_a_running_checkout_is_known(shop: Shop) -> None:
    cart = await shop.cart()
    assert not await shop.orders.has_key(cart.id, "k1")
    await begun(shop, cart)
    assert await shop.orders.has_key(cart.id, "k1")
    assert not await shop.orders.has_key(cart.id, "k2")
    assert not await shop.orders.has_key(new_cart_id(), "k1")


async def test_a_repeat_that_is_refused_leaves_the_key_to_the_checkout_that_runs(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    with pytest.raises(IdempotencyKeyInProgress):
        await shop.orders.begin(a_claim(cart, "t2"))
    assert await shop.orders.has_key(cart.id, "k1")
    with pytest.raises(IdempotencyKeyReused):
        await shop.orders.begin(a_claim(cart, "t3", body="b2"))


async def test_the_key_of_a_failed_commit_expires_with_its_claim(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    await shop.add(cart.id, MUG)
    order = order_of(cart, shop.now())
    assert await shop.orders.commit(a_claim(cart), order, cart_version=cart.version, message=b"{}") is None
    await shop.expire_claim(cart.id)
    assert not await shop.orders.has_key(cart.id, "k1")
    assert isinstance(await shop.orders.begin(a_claim(cart, "t2", body="b2")), Claimed)


async def test_a_key_is_free_again_when_its_checkout_is_refused(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    await shop.orders.release(a_claim(cart), nothing_held=True)
    assert not await shop.orders.has_key(cart.id, "k1")
    assert isinstance(await shop.orders.begin(a_claim(cart, "t2", body="b2")), Claimed)


async def test_the_key_of_an_accepted_order_stays_its_key(shop: Shop) -> None:
    cart = await shop.cart()
    order, _ = await ordered(shop, cart)
    await shop.expire_claim(cart.id)
    assert await shop.orders.has_key(cart.id, "k1")
    assert not await shop.orders.has_key(cart.id, "k2")
    cancelled, _ = await shop.orders.cancel(order, at=shop.now(), message=b"{}")
    receipt = await shop.orders.receipt(order.id)
    assert receipt is not None
    assert (receipt.order, receipt.key_hash, receipt.fingerprint) == (cancelled, "k1", "b1")


async def test_a_claim_commits_with_the_key_and_body_it_began_with(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    order = order_of(cart, shop.now())
    for other in (a_claim(cart, key="k2"), a_claim(cart, body="b2"), a_claim(cart, "t2")):
        assert await shop.orders.commit(other, order, cart_version=cart.version, message=b"{}") is None
    assert await shop.orders.commit(a_claim(cart), order, cart_version=cart.version, message=b"{}") is not None


async def test_a_commit_makes_the_cart_an_order(shop: Shop) -> None:
    cart = await shop.cart()
    order, committed = await ordered(shop, cart)
    assert committed.is_durable
    assert await shop.orders.read(order.id) == order
    now = await shop.carts.read(cart.id)
    assert (now.status, now.order_id, now.version, now.lines) == ("ordered", order.id, cart.version + 1, cart.lines)
    assert await shop.orders.begin(a_claim(cart, "t2", key="k2")) == AlreadyOrdered(order.id)
    receipt = await shop.orders.receipt(order.id)
    assert receipt is not None
    assert (receipt.order, receipt.key_hash, receipt.fingerprint, receipt.is_durable) == (order, "k1", "b1", True)


@pytest.mark.parametrize("owner", [None, "ada"])
@pytest.mark.parametrize("skew_ms", [0, -10 * YEAR_MS, 10 * YEAR_MS, -300_000, 300_000])
async def test_a_committed_cart_lives_as_after_any_other_change_by_the_clock_of_the_store(
    shop: Shop, owner: str | None, skew_ms: int
) -> None:
    cart = await shop.cart(owner=owner)
    await shop.age_cart(cart.id, 86_400_000)
    before = await shop.cart_expires_at(cart.id)
    claim = a_claim(cart, owner=owner)
    assert isinstance(await shop.orders.begin(claim), Claimed)
    # The clock of the process that commits may be wrong.
    order = order_of(cart, shop.now() + skew_ms)
    assert await shop.orders.commit(claim, order, cart_version=cart.version, message=b"{}") is not None
    after = await shop.cart_expires_at(cart.id)
    assert after > before
    assert abs(after - (shop.now() + cart.lifetime_ms(LIMITS))) < A_MINUTE_MS
    # Nor does the time of a cart's last change step back.
    assert (await shop.carts.read(cart.id, owner=owner)).updated_at == max(cart.updated_at, order.created_at)


async def test_a_commit_never_shortens_the_life_of_a_cart(shop: Shop) -> None:
    cart = await shop.cart()
    await shop.age_cart(cart.id, -86_400_000)
    expires_at = await shop.cart_expires_at(cart.id)
    await ordered(shop, cart)
    assert await shop.cart_expires_at(cart.id) == expires_at


@pytest.mark.parametrize("skew_ms", [-10 * YEAR_MS, -300_000, 300_000, 10 * YEAR_MS])
async def test_the_history_of_an_order_stays_in_order_whatever_the_clocks(shop: Shop, skew_ms: int) -> None:
    order, _ = await ordered(shop, await shop.cart())
    confirmed = await shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=shop.now() + skew_ms)
    cancelled, _ = await shop.orders.cancel(confirmed, at=shop.now(), message=b"{}")
    times = [entry.at for entry in cancelled.history]
    assert times == sorted(times)
    assert cancelled.updated_at == times[-1]
    assert await shop.orders.read(order.id) == cancelled


async def test_a_cart_that_changed_is_not_committed(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    changed = await shop.add(cart.id, MUG)
    order = order_of(cart, shop.now())
    assert await shop.orders.commit(a_claim(cart), order, cart_version=cart.version, message=b"{}") is None
    assert await shop.carts.read(cart.id) == changed
    assert await shop.orders.read(order.id) is None


async def test_a_cart_that_was_deleted_is_not_committed(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    await shop.carts.delete(cart.id, write=shop.write())
    order = order_of(cart, shop.now())
    assert await shop.orders.commit(a_claim(cart), order, cart_version=cart.version, message=b"{}") is None


async def test_a_claim_commits_once(shop: Shop) -> None:
    cart = await shop.cart()
    order, _ = await ordered(shop, cart)
    again = await shop.orders.commit(a_claim(cart), order, cart_version=cart.version, message=b"{}")
    assert again is None
    assert not await shop.orders.release(a_claim(cart), nothing_held=False)


async def test_a_durable_order_is_not_rolled_back(shop: Shop) -> None:
    cart = await shop.cart()
    order, committed = await ordered(shop, cart)
    assert not await shop.orders.roll_back(order, committed.entry)
    assert await shop.orders.read(order.id) == order


async def test_an_order_that_was_never_accepted_is_not_found(shop: Shop) -> None:
    unknown = OrderId(new_cart_id())
    assert await shop.orders.read(unknown) is None
    assert await shop.orders.receipt(unknown) is None


async def test_a_transition_requires_the_expected_status(shop: Shop) -> None:
    order, _ = await ordered(shop, await shop.cart())
    confirmed = await shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=order.created_at + 1, detail="all")
    assert confirmed.history[-1] == HistoryEntry(OrderStatus.STOCK_CONFIRMED, order.created_at + 1, "all")
    assert await shop.orders.read(order.id) == confirmed
    with pytest.raises(StatusConflict) as conflict:
        await shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=1)
    assert conflict.value.current == "stock_confirmed"
    cancelled = await shop.orders.transition(
        confirmed, OrderStatus.CANCELLED, at=order.created_at + 2, reason=CancelReason.PAYMENT_DECLINED
    )
    assert await shop.orders.read(order.id) == cancelled
    receipt = await shop.orders.receipt(order.id)
    assert receipt is not None
    assert receipt.order == cancelled
    assert receipt.order.as_accepted() == order


async def test_a_step_adds_the_payment_to_the_order_with_the_transition(shop: Shop) -> None:
    order, _ = await ordered(shop, await shop.cart())
    confirmed = await shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=order.created_at + 1)
    payment = Payment(
        reference="pi_1", authorised=order.total, authorised_until=order.created_at + 1000, refund_ids=("r1", "r2")
    )

    paid = await shop.orders.transition(
        msgspec.structs.replace(confirmed, payment=payment), OrderStatus.PAYMENT_AUTHORISED, at=order.created_at + 2
    )
    stored = await shop.orders.read(order.id)
    assert stored == paid
    assert paid.payment == payment
    captured = msgspec.structs.replace(paid.revised(), payment=msgspec.structs.replace(payment, captured=order.total))
    await shop.orders.update(paid, captured)
    assert await shop.orders.read(order.id) == captured
    assert captured.as_accepted() == order


async def test_a_cancelled_order_is_sent_to_workers(shop: Shop) -> None:
    order, _ = await ordered(shop, await shop.cart())
    cancelled, entry = await shop.orders.cancel(order, at=order.created_at + 1, message=b"again")
    assert cancelled.reason is CancelReason.REQUESTED
    assert await shop.orders.read(order.id) == cancelled
    assert entry in await shop.outbox.unsent(per_partition=10)
    with pytest.raises(StatusConflict):
        await shop.orders.cancel(order, at=order.created_at + 1, message=b"again")


async def test_a_released_or_committed_claim_is_not_abandoned(shop: Shop) -> None:
    released, committed, refused = await shop.cart(), await shop.cart(), new_cart_id()
    await begun(shop, released)
    await shop.orders.release(a_claim(released), nothing_held=True)
    await ordered(shop, committed)
    with pytest.raises(CartNotFound):
        await shop.orders.begin(a_claim(refused))
    assert not await shop.orders.open_claims()


async def test_an_abandoned_claim_names_the_stock_it_may_hold(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    (claim,) = await shop.orders.open_claims()
    assert (claim.order_id, claim.skus) == (order_id_for(cart.id, cart.version), (MUG,))
    await shop.orders.delete_claims([claim])
    assert not await shop.orders.open_claims()


async def test_a_claim_released_with_holds_is_abandoned(shop: Shop) -> None:
    cart = await shop.cart()
    await begun(shop, cart)
    await shop.orders.release(a_claim(cart), nothing_held=False)
    assert len(await shop.orders.open_claims()) == 1


async def test_an_empty_cart_that_was_abandoned_holds_nothing(shop: Shop) -> None:
    await begun(shop, await shop.cart({}))
    (claim,) = await shop.orders.open_claims()
    assert claim.skus == ()


async def test_the_outbox_holds_the_message_until_it_is_sent(shop: Shop) -> None:
    order, committed = await ordered(shop, await shop.cart())
    other, other_committed = await _another(shop)
    waiting = await shop.outbox.unsent(per_partition=10)
    assert sorted(entry.order_id for entry in waiting) == sorted([order.id, other.id])
    assert committed.entry in waiting
    await shop.outbox.mark_sent([committed.entry])
    assert await shop.outbox.unsent(per_partition=10) == [other_committed.entry]


async def test_the_outbox_returns_the_oldest_entries_of_a_partition(shop: Shop) -> None:
    order, first = await ordered(shop, await shop.cart())
    confirmed = await shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=shop.now())
    await shop.orders.cancel(confirmed, at=shop.now(), message=b"again")
    waiting = await shop.outbox.unsent(per_partition=1)
    assert waiting == [first.entry]


async def test_a_wrong_clock_does_not_make_a_running_checkout_abandoned(shop: Shop, wrong_clock: None) -> None:
    cart = await shop.cart()
    claimed = await begun(shop, cart)
    now = 0.0
    sweeper = StockSweeper(shop.orders, shop.stock, clock=lambda: now)
    for _ in range(2):
        # Nothing is held yet, so nothing else than the age of the claim keeps it open.
        assert await sweeper.sweep() == 0
        now += AGE_S - 1
    await shop.stock.hold(order_id_for(cart.id, cart.version), [StockLine(MUG, 2)], fence=claimed.fence)
    # Its process dies now.
    await shop.expire_holds()
    now += AGE_S
    assert await sweeper.sweep() == 1
    assert (await shop.available(MUG), await shop.taken(MUG)) == (10, 0)


async def test_a_wrong_clock_does_not_delay_the_sweep_of_the_outbox(shop: Shop, wrong_clock: None) -> None:
    _, committed = await ordered(shop, await shop.cart())
    now = 0.0
    queue = MemoryQueue()
    dispatcher = OutboxDispatcher(shop.outbox, queue, min_age_s=5.0, clock=lambda: now)
    assert await dispatcher.sweep() == 0
    now = 4.9
    assert await dispatcher.sweep() == 0
    now = 5.0
    assert await dispatcher.sweep() == 1
    assert dispatcher.waiting == 1
    assert [committed.entry] == await shop.outbox.unsent(per_partition=10)


async def _another(shop: Shop) -> tuple[Order, Committed]:
    cart = await shop.cart()
    claim = msgspec.structs.replace(a_claim(cart), key_hash="k2", fingerprint="b2", token="t2")
    await shop.orders.begin(claim)
    order = order_of(cart, shop.now())
    committed = await shop.orders.commit(claim, order, cart_version=cart.version, message=b"\x00binary\xff")
    assert committed is not None
    return order, committed


def test_the_address_is_stored_with_its_country_in_capitals() -> None:
    assert ADDRESS.country == "gb"
    assert a_request(new_cart_id()).address().country == "GB"

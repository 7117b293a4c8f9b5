"""The transaction of a checkout: claim the cart, price it, hold its stock, commit the order, and undo on failure.

A process that dies between two steps leaves only state that expires or is swept: the claim expires, the holds expire and
are released by `checkout.sweeper`, and a committed order is valid, with its message in the outbox. A process that undoes
late changes nothing of a later checkout: the claim's token guards the cart, its fence guards the stock.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from cart.coupons import CouponFault, code_of, is_coupon
from cart.errors import CartClosed, CouponRefused, IdempotencyKeyReused, Interrupted, Refusal
from cart.ids import order_id_for
from cart.model import Cart, OrderId, Sku
from checkout.errors import (
    CheckoutInterrupted,
    IdempotencyKeyInProgress,
    OrderNotDurable,
    OutOfStock,
    OverLimit,
    ShopperLimit,
    Shortage,
    SoldAhead,
)
from checkout.order import HistoryEntry, Order
from checkout.order_number import order_number
from checkout.order_status import OrderStatus
from checkout.ports.order_index import OrderIndex
from checkout.ports.orders import AlreadyOrdered, Claim, Claimed, Committed, Merges, MergeUnfinished, Orders, Receipt
from checkout.ports.outbox import OutboxEntry
from checkout.ports.stock import Stock
from checkout.pricing import Pricing, require_price_consent
from checkout.purchase import PlacedOrder, Purchase
from checkout.sold_out import SoldOut
from checkout.workflow.orders import LATEST, WITHOUT_DISCOUNTS
from primitives.outages import is_outage, level_of, may_have_run

# Attempts of one checkout whose cart changes between the claim and the commit.
MAX_ATTEMPTS: Final = 3

logger = logging.getLogger(__name__)


class IsQueued(Protocol):
    """Whether the queue has acknowledged the message of an order, after a while at most. Raises the errors of the store."""

    def __call__(self, order_id: OrderId, *, is_new: bool) -> Awaitable[bool]:
        """`is_new`: this process has handed the message to its dispatcher just now."""
        ...


class OrderPlacement:
    """Turns carts into orders. See `CheckoutHandlers` for the parameters."""

    def __init__(
        self,
        *,
        orders: Orders,
        stock: Stock,
        pricing: Pricing,
        merges: Merges,
        message: Callable[[Order], bytes],
        dispatch: Callable[[OutboxEntry], None],
        index: OrderIndex,
        clock_ms: Callable[[], int],
        shoppers_of: Callable[[str | None, str], Sequence[str]],
        is_queued: IsQueued | None = None,
        on_accepted: Callable[[Order], None] | None = None,
        sold_out: SoldOut,
    ) -> None:
        self._sold_out = sold_out
        self._on_accepted = on_accepted
        self._orders = orders
        self._is_queued = is_queued
        self._stock = stock
        self._pricing = pricing
        self._merges = merges
        self._message = message
        self._dispatch = dispatch
        self._index = index
        self._clock_ms = clock_ms
        self._shoppers_of = shoppers_of

    async def place(self, purchase: Purchase) -> PlacedOrder:
        """Order the cart, or find the order it has become.

        If it raises, cart, stock and key are as before, or will be when the claim has expired; only after a
        `CheckoutInterrupted` with `may_have_run` the order may have been placed.
        """
        try:
            placed = await self._place(purchase)
            if self._is_queued is not None:
                await self._await_queue(placed, self._is_queued)
            return placed
        except (Refusal, Interrupted):
            raise
        except Exception as error:
            if is_outage(error) and may_have_run(error):
                # A call before the commit, or an undone one, may have run: nothing remains of it.
                raise CheckoutInterrupted(may_have_run=False) from error
            raise

    async def _place(self, purchase: Purchase) -> PlacedOrder:
        claim = purchase.claim
        begun: Claimed | AlreadyOrdered | MergeUnfinished | None = None
        for _ in range(MAX_ATTEMPTS):
            begun = await self._begin(claim)
            if isinstance(begun, MergeUnfinished):
                await self._merges.settle(claim.cart_id)
            elif isinstance(begun, Claimed):
                if (placed := await self._order_cart(purchase, begun)) is not None:
                    return placed
            elif (order := await self._find_order(claim, begun.order_id)) is not None:
                return PlacedOrder(order, replayed=True)
        if isinstance(begun, AlreadyOrdered):
            # It was not rolled back, or the cart would be open. A retry would find no more.
            logger.error(
                "order %s is missing, but its cart is ordered: the store has lost it", order_number(begun.order_id)
            )
            raise CartClosed(begun.order_id)
        await self._release_claim(claim, nothing_held=False)
        raise IdempotencyKeyInProgress

    async def _await_queue(self, placed: PlacedOrder, is_queued: IsQueued) -> None:
        """Raise `CheckoutInterrupted` if the queue does not have the order's message in time. The order stands, and is sent later."""
        try:
            has_message = await is_queued(placed.order.id, is_new=not placed.replayed)
        except Exception as error:
            if is_outage(error):
                raise CheckoutInterrupted(may_have_run=True) from error
            raise
        if not has_message:
            raise CheckoutInterrupted(may_have_run=True)

    async def _begin(self, claim: Claim) -> Claimed | AlreadyOrdered | MergeUnfinished:
        try:
            return await self._orders.begin(claim, units_left=self._sold_out.units_left())
        except OutOfStock as shortage:
            self._sold_out.refused += 1
            raise _refusal_of(shortage) from None
        except Refusal:
            raise
        except Exception as error:
            # The script may have run. Without the release, retries would be refused until the claim expires.
            await self._release_claim(claim, nothing_held=False)
            raise error

    async def _find_order(self, claim: Claim, order_id: OrderId) -> Order | None:
        """The order of the cart, if this request is a replay of it; None if the order was rolled back meanwhile."""
        receipt = await self._receipt(order_id)
        if receipt is None:
            return None
        order = receipt.order
        if receipt.key_hash != claim.key_hash or order.owner not in {None, claim.owner}:
            raise CartClosed(order_id)
        if receipt.fingerprint != claim.fingerprint:
            raise IdempotencyKeyReused
        if not receipt.is_durable:
            # The first request still waits for that, and rolls it back if it waits in vain.
            raise CheckoutInterrupted(may_have_run=True)
        return order

    async def _receipt(self, order_id: OrderId) -> Receipt | None:
        """The receipt of an order that may stand."""
        try:
            return await self._orders.receipt(order_id)
        except Exception as error:
            if is_outage(error):
                raise CheckoutInterrupted(may_have_run=True) from error
            raise

    async def _order_cart(self, purchase: Purchase, claimed: Claimed) -> PlacedOrder | None:
        """Order the claimed cart; None if it changed or the claim expired before the commit."""
        claim = purchase.claim
        try:
            order, is_limited = await self._price(purchase, claimed.cart)
        except Exception as error:
            await self._release_claim(claim, nothing_held=not claimed.may_have_holds)
            raise error
        try:
            order = await self._hold(order, claimed.fence, is_limited=is_limited)
        except (OutOfStock, ShopperLimit) as refusal:
            if isinstance(refusal, OutOfStock):
                self._sold_out.remember([line for line in refusal.lines if self._is_for_all(line.sku)])
            await self._release_claim(claim, nothing_held=True)
            raise _refusal_of(refusal) from None
        except Exception as error:
            await self._release_claim(claim, nothing_held=False)
            await self._release_stock(order, claimed.fence)
            raise error
        try:
            committed = await self._orders.commit(
                claim, order, cart_version=claimed.cart.version, message=self._message(order)
            )
        except Exception as error:  # noqa: BLE001 - raised again, unless the order stands
            return await self._after_failed_commit(order, claimed, claim, error)
        if committed is None:
            await self._release_stock(order, claimed.fence)
            return None
        if not committed.is_durable:
            return await self._roll_back(order, claimed, claim, committed)
        self._announce(order, committed.entry)
        return PlacedOrder(order, replayed=False)

    def _is_for_all(self, sku: Sku) -> bool:
        """Whether every cart that wants it is short of it: none holds units, and it is no coupon, which may not count for some."""
        return not self._pricing.is_held_at_carts(sku) and not is_coupon(sku)

    def _announce(self, order: Order, entry: OutboxEntry) -> None:
        """Begin what follows an accepted order; nothing of it can fail the checkout any more."""
        try:
            self._dispatch(entry)
            self._index.enter(order)
            if self._on_accepted is not None:
                self._on_accepted(order)
        except Exception:
            # The sweeper finds the entry in the outbox, and the worker enters the order.
            logger.exception("order %s is sent to the queue later, because sending it failed", order.number)

    async def _price(self, purchase: Purchase, cart: Cart) -> tuple[Order, bool]:
        """The order of the cart at current prices, and whether one shopper may have only so much of it.

        Raises the refusals of `checkout.pricing`.
        """
        request = purchase.request
        address, expected = request.address(), request.expected_total
        priced = await self._pricing.price(
            cart, method=purchase.shipping_method, country=address.country, expected=expected
        )
        require_price_consent(cart, priced, expected=expected)
        now = self._clock_ms()
        order = Order(
            id=order_id_for(cart.id, cart.version),
            cart_id=cart.id,
            currency=cart.currency,
            lines=priced.lines,
            shipping_method=purchase.shipping_method,
            shipping=priced.shipping,
            discounts=priced.discounts,
            tax=priced.tax,
            email=request.email,
            shipping_address=address,
            payment_token=request.payment.token,
            created_at=now,
            updated_at=now,
            history=(HistoryEntry(OrderStatus.ACCEPTED, now),),
            # A cart that has an owner is claimed by that one only. It knows the owner by a hash.
            owner=purchase.claim.owner,
            # Earlier releases know no discounts and taxes, so they leave such an order to others.
            workflow=LATEST.version if priced.discounts or priced.tax is not None else WITHOUT_DISCOUNTS.version,
        )
        return order, priced.is_limited

    async def _hold(self, order: Order, fence: int, *, is_limited: bool) -> Order:
        """Hold all lines and uses of coupons, or none and raise `OutOfStock`, or `ShopperLimit` if nothing is short; the order with its units ahead."""
        shoppers = self._shoppers_of(order.owner, order.email) if is_limited else ()
        outcomes = await self._stock.hold(order.id, order.held, fence=fence, shoppers=shoppers, cart_id=order.cart_id)
        if not outcomes:
            return order
        ahead = {line.sku: line for line in outcomes if isinstance(line, SoldAhead)}
        refused = {line.sku for line in outcomes} - ahead.keys()
        if not refused:
            return order.with_ahead(ahead)
        await self._stock.release(
            order.id, [sku for sku in order.skus if sku not in refused], fence=fence, cart_id=order.cart_id
        )
        if short := [line for line in outcomes if isinstance(line, Shortage)]:
            raise OutOfStock(short)
        raise ShopperLimit([line for line in outcomes if isinstance(line, OverLimit)])

    # After a failure. If undoing fails too, that only delays: claims expire, and expired holds are swept.

    async def _after_failed_commit(
        self, order: Order, claimed: Claimed, claim: Claim, error: Exception
    ) -> PlacedOrder | None:
        """Find out whether the commit ran: the order, or raises."""
        is_released = await self._release_claim(claim, nothing_held=False)
        if not is_released and may_have_run(error):
            # The claim is gone: the order stands, or else the claim had expired. Without a reply it may be there still.
            placed = await self._placed(order, claim)
            if placed is not None:
                return placed
            if is_released is None:
                raise CheckoutInterrupted(may_have_run=True) from error
        await self._release_stock(order, claimed.fence)
        raise error

    async def _roll_back(self, order: Order, claimed: Claimed, claim: Claim, committed: Committed) -> PlacedOrder:
        """Roll back an order that is not durable in time; the order, if it is too late for that.

        Raises `OrderNotDurable`, or `CheckoutInterrupted` where the order may stand on the server that takes over.
        """
        try:
            is_rolled_back = await self._orders.roll_back(order, committed.entry)
        except Exception as error:  # noqa: BLE001 - the order itself shows whether it stands
            logger.log(
                level_of(error),
                "rolling back order %s, which is not durable yet, failed; it may remain accepted: %s: %s",
                order.number,
                type(error).__name__,
                error,
            )
            is_rolled_back = False
        if not is_rolled_back and (placed := await self._placed(order, claim)) is not None:
            return placed
        await self._release_stock(order, claimed.fence)
        if not committed.undo_is_safe:
            raise CheckoutInterrupted(may_have_run=True)
        raise OrderNotDurable

    async def _placed(self, order: Order, claim: Claim) -> PlacedOrder | None:
        """The order of this claim, if it stands and is durable; None if there is none. Raises `CheckoutInterrupted`."""
        receipt = await self._receipt(order.id)
        if receipt is None or receipt.key_hash != claim.key_hash or receipt.fingerprint != claim.fingerprint:
            return None
        if not receipt.is_durable:
            raise CheckoutInterrupted(may_have_run=True)
        return PlacedOrder(receipt.order, replayed=receipt.order.as_accepted() != order)

    async def _release_claim(self, claim: Claim, *, nothing_held: bool) -> bool | None:
        """Whether the claim was valid, so that it can no longer commit; None if that is unknown."""
        try:
            return await self._orders.release(claim, nothing_held=nothing_held)
        except Exception as error:  # noqa: BLE001 - the claim expires
            logger.log(
                level_of(error),
                "releasing the claim of a cart failed; it expires in seconds: %s: %s",
                type(error).__name__,
                error,
            )
            return None

    async def _release_stock(self, order: Order, fence: int) -> None:
        try:
            await self._stock.release(order.id, order.skus, fence=fence, cart_id=order.cart_id)
        except Exception as error:  # noqa: BLE001 - the holds expire
            logger.log(
                level_of(error),
                "releasing held stock failed; the sweeper releases it when it expires: %s: %s",
                type(error).__name__,
                error,
            )


def _refusal_of(refusal: OutOfStock | ShopperLimit) -> Refusal:
    """The refusal that a shopper is told: of goods first, and of a coupon if there is enough of them."""
    if isinstance(refusal, OutOfStock):
        short = [line for line in refusal.lines if not is_coupon(line.sku)]
        return OutOfStock(short) if short else CouponRefused(code_of(refusal.lines[0].sku), CouponFault.USED_UP)
    over = [line for line in refusal.lines if not is_coupon(line.sku)]
    return ShopperLimit(over) if over else CouponRefused(code_of(refusal.lines[0].sku), CouponFault.USED_BY_SHOPPER)

"""The transaction of a checkout: claim the cart, price it, hold its stock, commit the order, and undo on failure.

A process that dies between two steps leaves only state that expires or is swept: the claim expires, the holds expire and
are released by `checkout.sweeper`, and a committed order is valid, with its message in the outbox. A process that undoes
late changes nothing of a later checkout: the claim's token guards the cart, its fence guards the stock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from cart.errors import CartClosed, Refusal
from cart.ids import order_id_for
from cart.model import Cart, OrderId
from cart.ports import PriceBook
from checkout.errors import CartEmpty, IdempotencyKeyInProgress, IdempotencyKeyReused, OrderNotDurable, OutOfStock
from checkout.order import HistoryEntry, Order
from checkout.order_status import OrderStatus
from checkout.ports.orders import AlreadyOrdered, Claim, Claimed, Committed, Merges, MergeUnfinished, Orders
from checkout.ports.outbox import OutboxEntry
from checkout.ports.stock import Stock, StockLine
from checkout.pricing import order_lines, require_price_consent
from checkout.purchase import PlacedOrder, Purchase
from primitives.outages import level_of

# Attempts of one checkout whose cart changes between the claim and the commit.
MAX_ATTEMPTS: Final = 3

logger = logging.getLogger(__name__)


class OrderPlacement:
    """Turns carts into orders. See `CheckoutHandlers` for the parameters."""

    def __init__(
        self,
        *,
        orders: Orders,
        stock: Stock,
        prices: PriceBook,
        merges: Merges,
        message: Callable[[Order], bytes],
        dispatch: Callable[[OutboxEntry], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._orders = orders
        self._stock = stock
        self._prices = prices
        self._merges = merges
        self._message = message
        self._dispatch = dispatch
        self._clock_ms = clock_ms

    async def place(self, purchase: Purchase) -> PlacedOrder:
        """Order the cart, or find the order it has become. If it raises, cart, stock and key are as before."""
        claim = purchase.claim
        for _ in range(MAX_ATTEMPTS):
            begun = await self._begin(claim)
            if isinstance(begun, MergeUnfinished):
                await self._merges.settle(claim.cart_id)
            elif isinstance(begun, Claimed):
                if (order := await self._order_cart(purchase, begun)) is not None:
                    return PlacedOrder(order, replayed=False)
            elif (order := await self._find_order(claim, begun.order_id)) is not None:
                return PlacedOrder(order, replayed=True)
        await self._release_claim(claim, nothing_held=False)
        raise IdempotencyKeyInProgress

    async def _begin(self, claim: Claim) -> Claimed | AlreadyOrdered | MergeUnfinished:
        try:
            return await self._orders.begin(claim)
        except Refusal:
            raise
        except Exception:
            # The script may have run. Without the release, retries would be refused until the claim expires.
            await self._release_claim(claim, nothing_held=False)
            raise

    async def _find_order(self, claim: Claim, order_id: OrderId) -> Order | None:
        """The order of the cart, if this request is a replay of it; None if the order was rolled back meanwhile."""
        receipt = await self._orders.receipt(order_id)
        if receipt is None:
            return None
        if receipt.key_hash != claim.key_hash:
            raise CartClosed(order_id)
        if receipt.fingerprint != claim.fingerprint:
            raise IdempotencyKeyReused
        if not receipt.is_durable:
            raise OrderNotDurable
        return receipt.order

    async def _order_cart(self, purchase: Purchase, claimed: Claimed) -> Order | None:
        """Order the claimed cart; None if it changed or the claim expired before the commit."""
        claim = purchase.claim
        try:
            order = await self._price(purchase, claimed.cart)
        except Exception:
            await self._release_claim(claim, nothing_held=not claimed.may_have_holds)
            raise
        try:
            await self._hold(order, claimed.fence)
            committed = await self._commit(order, claimed, claim)
        except OutOfStock:
            await self._release_claim(claim, nothing_held=True)
            raise
        except Exception:
            # The commit may have run. A claim that can be released was not committed, and never will be.
            if await self._release_claim(claim, nothing_held=False):
                await self._release_stock(order, claimed.fence)
            raise
        if committed is None:
            return None
        if not committed.is_durable:
            await self._roll_back(order, claimed, claim, committed.entry)
            raise OrderNotDurable
        try:
            self._dispatch(committed.entry)
        except Exception:
            # The order is placed; the sweeper finds its entry in the outbox.
            logger.exception("order %s is sent to the queue later, because sending it failed", order.number)
        return order

    async def _price(self, purchase: Purchase, cart: Cart) -> Order:
        """The order of the cart at current prices. Raises `CartEmpty` and the refusals of `checkout.pricing`."""
        if not cart.lines:
            raise CartEmpty
        request = purchase.request
        lines = order_lines(cart, await self._prices.products(cart.skus))
        require_price_consent(cart, lines, shipping=purchase.shipping, expected=request.expected_total)
        now = self._clock_ms()
        return Order(
            id=order_id_for(cart.id, cart.version),
            cart_id=cart.id,
            currency=cart.currency,
            lines=lines,
            shipping_method=purchase.shipping_method,
            shipping=purchase.shipping,
            email=request.email,
            shipping_address=request.address(),
            payment_token=request.payment.token,
            created_at=now,
            updated_at=now,
            history=(HistoryEntry(OrderStatus.ACCEPTED, now),),
            owner=cart.owner,
        )

    async def _hold(self, order: Order, fence: int) -> None:
        """Hold all lines, or none and raise `OutOfStock`."""
        wanted = [StockLine(line.sku, line.quantity) for line in order.lines]
        shortages = await self._stock.hold(order.id, wanted, fence=fence)
        if shortages:
            short = {shortage.sku for shortage in shortages}
            held = [line.sku for line in order.lines if line.sku not in short]
            await self._stock.release(order.id, held, fence=fence)
            raise OutOfStock(shortages)

    async def _commit(self, order: Order, claimed: Claimed, claim: Claim) -> Committed | None:
        committed = await self._orders.commit(
            claim, order, cart_version=claimed.cart.version, message=self._message(order)
        )
        if committed is None:
            await self._stock.release(order.id, order.skus, fence=claimed.fence)
        return committed

    # Undoing. A failure here only delays: claims expire, and expired holds are swept.

    async def _release_claim(self, claim: Claim, *, nothing_held: bool) -> bool:
        try:
            return await self._orders.release(claim, nothing_held=nothing_held)
        except Exception as error:  # noqa: BLE001 - the claim expires
            logger.log(
                level_of(error),
                "releasing the claim of a cart failed; it expires in seconds: %s: %s",
                type(error).__name__,
                error,
            )
            return False

    async def _release_stock(self, order: Order, fence: int) -> None:
        try:
            await self._stock.release(order.id, order.skus, fence=fence)
        except Exception as error:  # noqa: BLE001 - the holds expire
            logger.log(
                level_of(error),
                "releasing held stock failed; the sweeper releases it when it expires: %s: %s",
                type(error).__name__,
                error,
            )

    async def _roll_back(self, order: Order, claimed: Claimed, claim: Claim, entry: OutboxEntry) -> None:
        try:
            is_rolled_back = await self._orders.roll_back(claim, order, entry)
        except Exception as error:  # noqa: BLE001 - the order then remains accepted
            logger.log(
                level_of(error),
                "rolling back order %s, which is not durable yet, failed; it remains accepted: %s: %s",
                order.number,
                type(error).__name__,
                error,
            )
            return
        if is_rolled_back:
            await self._release_stock(order, claimed.fence)

"""One checkout, from the claim of the cart to the order: the steps, and how each is undone.

Killed between any two of them, it leaves nothing behind that does not run out or is not sweep: the claim runs out, holds
expire (`checkout.sweeper`), a committed order stands and its message waits in the outbox. What one process undoes late
cannot hurt another that has begun since: the claim's token guards the cart, its fence guards the stock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from cart.errors import CartClosed, Refusal
from cart.model import Cart, OrderId, order_id_for
from cart.ports import PriceBook
from checkout.errors import (
    CartEmpty,
    IdempotencyKeyInProgress,
    IdempotencyKeyReused,
    OrderNotDurable,
    OutOfStock,
)
from checkout.model import CheckoutRequest, HistoryEntry, Order, OrderStatus
from checkout.ports import (
    AlreadyOrdered,
    Claim,
    Claimed,
    Committed,
    Merges,
    MergeUnfinished,
    Orders,
    OutboxEntry,
    Stock,
    StockLine,
)
from checkout.pricing import order_lines, require_price_consent

# How often a checkout looks at the cart again when it changed between being read and being ordered.
TRIES: Final = 3

logger = logging.getLogger(__name__)


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout whose body is in order, and what its way of shipping costs."""

    request: CheckoutRequest
    claim: Claim
    shipping_method: str
    shipping: int


class Placed(msgspec.Struct, frozen=True):
    """An order that was accepted, now or (`replayed`) by an earlier request with the same key and body."""

    order: Order
    replayed: bool

    def to_json(self) -> bytes:
        """The order as it was accepted: a replay gives the same bytes, however far the order has come since."""
        return self.order.as_accepted().to_json()


class OrderPlacement:
    """Turns claimed carts into orders. See `CheckoutHandlers` for the parameters."""

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

    async def place(self, purchase: Purchase) -> Placed:
        """Order the cart, or find that it was; what is raised leaves cart, stock and key as they were."""
        claim = purchase.claim
        for _ in range(TRIES):
            begun = await self._begin(claim)
            if isinstance(begun, MergeUnfinished):
                await self._merges.settle(claim.cart_id)
            elif isinstance(begun, Claimed):
                if (order := await self._order_cart(purchase, begun)) is not None:
                    return Placed(order, replayed=False)
            elif (order := await self._find_order(claim, begun.order_id)) is not None:
                return Placed(order, replayed=True)
        await self._release_claim(claim, nothing_held=False)
        raise IdempotencyKeyInProgress

    async def _begin(self, claim: Claim) -> Claimed | AlreadyOrdered | MergeUnfinished:
        try:
            return await self._orders.begin(claim)
        except Refusal:
            raise
        except Exception:
            # It may have run: a cart that nobody works on must not answer "in progress" until the claim runs out.
            await self._release_claim(claim, nothing_held=False)
            raise

    async def _find_order(self, claim: Claim, order_id: OrderId) -> Order | None:
        """The order that the cart became, if this is the same request again; None if it was undone meanwhile."""
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
        """Order the cart as it is now; None if it changed or the claim ran out before the order stood."""
        claim = purchase.claim
        try:
            order = await self._priced(purchase, claimed.cart)
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
            # The commit may have run. If the claim can still be let go, it has not, and never will.
            if await self._release_claim(claim, nothing_held=False):
                await self._release_stock(order, claimed.fence)
            raise
        if committed is None:
            return None
        if not committed.is_durable:
            await self._roll_back(order, claimed, claim, committed.entry)
            raise OrderNotDurable
        self._dispatch(committed.entry)
        return order

    async def _priced(self, purchase: Purchase, cart: Cart) -> Order:
        """The order that the cart would become at the prices of now. Raises the refusals of `checkout.pricing`."""
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

    # Undoing. What fails here is only late: claims run out, and expired holds are sweep.

    async def _release_claim(self, claim: Claim, *, nothing_held: bool) -> bool:
        try:
            return await self._orders.release(claim, nothing_held=nothing_held)
        except Exception as error:  # noqa: BLE001 - it is only late
            logger.warning("a claim could not be let go; it runs out by itself: %s: %s", type(error).__name__, error)
            return False

    async def _release_stock(self, order: Order, fence: int) -> None:
        try:
            await self._stock.release(order.id, order.skus, fence=fence)
        except Exception as error:  # noqa: BLE001 - it is only late
            logger.warning(
                "stock could not be put back; its holds expire by themselves: %s: %s", type(error).__name__, error
            )

    async def _roll_back(self, order: Order, claimed: Claimed, claim: Claim, entry: OutboxEntry) -> None:
        try:
            is_undone = await self._orders.roll_back(claim, order, entry)
        except Exception as error:  # noqa: BLE001 - then the order stands
            logger.warning(
                "an order that is not on disk yet could not be retracted; it stands: %s: %s",
                type(error).__name__,
                error,
            )
            return
        if is_undone:
            await self._release_stock(order, claimed.fence)

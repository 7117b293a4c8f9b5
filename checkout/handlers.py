"""The operations of checkout: place, read and cancel orders. No HTTP and no store, only ports."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from cart.errors import CartNotFound, Interrupted, InvalidBody, Refusal
from cart.idempotency import is_valid_key, validated_key
from cart.ids import parse_cart_id, parse_order_id
from cart.model import CartId
from cart.ports import PriceBook
from cart.timestamps import unix_ms
from checkout.errors import CancelTooLate, OrderNotFound, StatusConflict
from checkout.order import Order
from checkout.order_status import CANCELLABLE, CancelReason
from checkout.place_order import IsQueued, OrderPlacement
from checkout.ports.order_index import OrderIndex
from checkout.ports.orders import Claim, Merges, Orders
from checkout.ports.outbox import OutboxEntry
from checkout.ports.stock import Stock
from checkout.pricing import Pricing
from checkout.purchase import PlacedOrder, Purchase
from checkout.request import CheckoutRequest, cart_id_of
from checkout.sold_out import SoldOut
from checkout.tariff.tariff import TariffInForce
from primitives.outages import is_outage, may_have_run

# Results of checkouts.
ACCEPTED: Final = "accepted"
REPLAYED: Final = "replayed"
FAILED: Final = "failed"

logger = logging.getLogger(__name__)


class _Tokens:
    """Different texts: random for each process, with a number that rises. Nothing is drawn for each checkout."""

    def __init__(self) -> None:
        self._prefix = os.urandom(8).hex()
        self._numbers = itertools.count()

    def next(self) -> str:
        """The next one."""
        return f"{self._prefix}{next(self._numbers):x}"


def _plain_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _plain_names(owner: str | None, email: str) -> Sequence[str]:
    return [_plain_digest(text.encode()) for text in (owner, email) if text is not None]


class CheckoutHandlers:
    """The operations of shoppers on orders.

    Of an idempotency key and of a request only the `digest` (128 bits, in hex) is stored, because they may be, and are,
    personal data; only tests go without a secret key for it.
    `shoppers_of` gives the names of a shopper by the signed-in owner, None without one, and the e-mail address: see `Stock.hold`.
    `message` encodes the message to workers; `dispatch` takes the outbox entry of an accepted order and does not wait; `index` is where the order is found
    by its owner and number. With `is_queued`, an order is accepted once the queue has its message. `on_accepted` is called with each
    order that this process has stored; it neither waits nor raises. `sold_out` remembers the SKUs that were refused.
    `tariff` has the shipping methods and taxes; without it, shipping is free and there are no taxes. Operations also raise the errors of adapters whose service is away; a checkout may then be repeated with the same key.
    """

    def __init__(
        self,
        *,
        orders: Orders,
        stock: Stock,
        prices: PriceBook,
        merges: Merges,
        message: Callable[[Order], bytes],
        dispatch: Callable[[OutboxEntry], None],
        index: OrderIndex,
        tariff: TariffInForce | None = None,
        clock_ms: Callable[[], int] = unix_ms,
        new_token: Callable[[], str] | None = None,
        digest: Callable[[bytes], str] = _plain_digest,
        shoppers_of: Callable[[str | None, str], Sequence[str]] = _plain_names,
        is_queued: IsQueued | None = None,
        on_accepted: Callable[[Order], None] | None = None,
        sold_out: SoldOut | None = None,
    ) -> None:
        self.sold_out = sold_out or SoldOut()
        self._tariff = tariff or TariffInForce()
        self.pricing = Pricing(prices, self._tariff, clock_ms=clock_ms)
        self._placement = OrderPlacement(
            orders=orders,
            stock=stock,
            pricing=self.pricing,
            merges=merges,
            message=message,
            dispatch=dispatch,
            index=index,
            clock_ms=clock_ms,
            shoppers_of=shoppers_of,
            is_queued=is_queued,
            on_accepted=on_accepted,
            sold_out=self.sold_out,
        )
        self._orders = orders
        self._digest = digest
        self._message = message
        self._dispatch = dispatch
        self._clock_ms = clock_ms
        self._new_token = new_token or _Tokens().next
        # Checkouts by their result: one of the names above, or the class of the refusal.
        self.placed: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def place(
        self, request: CheckoutRequest, *, idempotency_key: str | None, owner: str | None = None
    ) -> PlacedOrder:
        """Turn a cart into an order, once.

        The idempotency key belongs to the cart: with another cart it is another key. An anonymous cart becomes the order of
        the signed-in `owner`.

        Raises `IdempotencyKeyMissing`, `InvalidBody`, `CartNotFound`, `CartClosed` (ordered by another key, or merged),
        `IdempotencyKeyReused`, `IdempotencyKeyInProgress`, `CartEmpty`, `PriceChanged`, `TotalMismatch`, `OutOfStock`, `ShopperLimit`,
        `OrderNotDurable` and `CheckoutInterrupted`; the cart, the stock and the key are then as before, unless the last one
        says otherwise.
        """
        result = FAILED
        try:
            placed = await self._place(request, idempotency_key, owner)
            result = REPLAYED if placed.replayed else ACCEPTED
        except Refusal as refusal:
            result = type(refusal).__name__
            raise
        finally:
            self.placed[result] += 1
        return placed

    async def _place(self, request: CheckoutRequest, idempotency_key: str | None, owner: str | None) -> PlacedOrder:
        purchase = self._validated(request, validated_key(idempotency_key), owner)
        # In a task of its own: a client that disconnects, or a deadline, must not cancel a checkout between its steps. The future
        # is what they cancel; `asyncio.shield` would be two callbacks more.
        if self._loop is None:  # to ask for it takes a system call
            self._loop = asyncio.get_running_loop()
        placed: asyncio.Future[PlacedOrder] = self._loop.create_future()
        task = self._loop.create_task(self._finish(purchase, placed))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await placed

    async def _finish(self, purchase: Purchase, placed: asyncio.Future[PlacedOrder]) -> None:
        """Order the cart, whether or not the client still waits for the result."""
        try:
            result = await self._placement.place(purchase)
        except asyncio.CancelledError:
            placed.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            if placed.done():
                _report_unseen(error)
            else:
                placed.set_exception(error)
        else:
            if not placed.done():
                placed.set_result(result)

    async def is_replay(self, body: bytes, *, idempotency_key: str | None) -> bool:
        """Whether the key is that of the order or of the running checkout of the cart in this undecoded body."""
        if idempotency_key is None or not is_valid_key(idempotency_key):
            return False
        cart_id = cart_id_of(body)
        if cart_id is None:
            return False
        return await self._orders.has_key(cart_id, self._digest(idempotency_key.encode()))

    async def read(self, order_id: str, *, owner: str | None = None) -> Order:
        """The order in its current state. Raises `OrderNotFound`."""
        parsed_id = parse_order_id(order_id)
        order = await self._orders.read(parsed_id) if parsed_id is not None else None
        if order is None or order.owner not in {None, owner}:
            raise OrderNotFound
        return order

    async def cancel(self, order_id: str, *, owner: str | None = None) -> Order:
        """Cancel the order at the shopper's request; a worker returns stock and payment later.

        May be repeated. Raises `OrderNotFound`, and `CancelTooLate` once the shipment is arranged.
        """
        while True:  # at most once for each status, because statuses only advance
            order = await self._read_to_change(order_id, owner)
            if order.reason is CancelReason.REQUESTED:
                await self._orders.make_durable(order)
                return order
            if order.status not in CANCELLABLE:
                raise CancelTooLate(order.status)
            try:
                cancelled, entry = await self._orders.cancel(
                    order, at=self._clock_ms(), message=self._message(order.as_accepted())
                )
            except StatusConflict:
                continue
            try:
                self._dispatch(entry)
            except Exception:
                # The order is cancelled; the sweeper finds the entry in the outbox.
                logger.exception(
                    "cancelled order %s is sent to the queue later, because sending it failed", order.number
                )
            return cancelled

    async def _read_to_change(self, order_id: str, owner: str | None) -> Order:
        try:
            return await self.read(order_id, owner=owner)
        except Refusal:
            raise
        except Exception as error:
            if is_outage(error) and may_have_run(error):
                raise Interrupted(may_have_run=False) from error  # a read that may have run changes nothing
            raise

    async def close(self) -> None:
        """Wait for the checkouts that still run, also those whose clients have disconnected."""
        if self._running:
            await asyncio.wait(self._running)

    def _validated(self, request: CheckoutRequest, key: str, owner: str | None) -> Purchase:
        """Validate the request. Raises `InvalidBody` with all faults of the body, or `CartNotFound` for a malformed cart id."""
        faults = request.faults()
        tariff = self._tariff.now
        method = request.shipping_method or tariff.default
        if method not in tariff.methods:
            faults.append(("/shipping_method", f"must be one of: {', '.join(tariff.methods)}"))
        if faults:
            raise InvalidBody(faults)
        claim = Claim(
            cart_id=_validated_cart_id(request.cart_id),
            key_hash=self._digest(key.encode()),
            fingerprint=request.fingerprint(self._digest),
            token=self._new_token(),
            owner=owner,
        )
        return Purchase(request=request, claim=claim, shipping_method=method)


def _report_unseen(error: BaseException) -> None:
    """Log the error of a checkout whose client has left, unless it is a refusal or an outage."""
    if not isinstance(error, Refusal) and not is_outage(error):
        logger.error("a checkout whose client has disconnected failed", exc_info=error)


def _validated_cart_id(text: str) -> CartId:
    cart_id = parse_cart_id(text)
    if cart_id is None:
        raise CartNotFound
    return cart_id

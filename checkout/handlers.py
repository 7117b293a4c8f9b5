"""The operations of checkout: place, read, cancel and follow orders. No HTTP and no store, only ports."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import msgspec

from cart.errors import CartNotFound, InvalidBody
from cart.ids import parse_cart_id, parse_order_id
from cart.model import CartId
from cart.ports import PriceBook
from cart.timestamps import unix_ms
from checkout.errors import CancelTooLate, IdempotencyKeyMissing, OrderNotFound, StatusConflict
from checkout.order import HistoryEntry, Order
from checkout.order_status import CANCELLABLE, CancelReason
from checkout.place_order import OrderPlacement
from checkout.ports.orders import Claim, Merges, Orders
from checkout.ports.outbox import OutboxEntry
from checkout.ports.stock import Stock
from checkout.purchase import PlacedOrder, Purchase
from checkout.request import CheckoutRequest

FREE_SHIPPING: Final = {"standard": 0}

_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")


class OrderEvent(msgspec.Struct, frozen=True):
    """An entry of an order's history, numbered from 1."""

    number: int
    entry: HistoryEntry


class CheckoutHandlers:
    """The operations of shoppers on orders.

    `message` encodes the message to workers; `dispatch` takes the outbox entry of an accepted order and does not wait.
    `shipping` maps each shipping method, the default first, to its price in minor units of any currency. Operations also
    raise the errors of adapters whose service is away; a checkout may then be repeated with the same key.
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
        shipping: Mapping[str, int] = FREE_SHIPPING,
        clock_ms: Callable[[], int] = unix_ms,
        new_token: Callable[[], str] = lambda: secrets.token_hex(8),
        poll_s: float = 0.25,
    ) -> None:
        self._placement = OrderPlacement(
            orders=orders,
            stock=stock,
            prices=prices,
            merges=merges,
            message=message,
            dispatch=dispatch,
            clock_ms=clock_ms,
        )
        self._orders = orders
        self._message = message
        self._dispatch = dispatch
        self._shipping = shipping
        self._clock_ms = clock_ms
        self._new_token = new_token
        self._poll_s = poll_s
        self._running: set[asyncio.Task[PlacedOrder]] = set()

    async def place(
        self, request: CheckoutRequest, *, idempotency_key: str | None, owner: str | None = None
    ) -> PlacedOrder:
        """Turn a cart into an order, once.

        Raises `IdempotencyKeyMissing`, `InvalidBody`, `CartNotFound`, `CartClosed` (ordered by another key, or merged),
        `IdempotencyKeyReused`, `IdempotencyKeyInProgress`, `CartEmpty`, `PriceChanged`, `TotalMismatch`, `OutOfStock` and
        `OrderNotDurable`; the cart, the stock and the key are then as before.
        """
        purchase = self._validated(request, _validated_key(idempotency_key), owner)
        # In a task of its own: a client that disconnects, or a deadline, must not cancel a checkout between its steps.
        task = asyncio.create_task(self._placement.place(purchase))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def is_known_idempotency_key(self, idempotency_key: str | None) -> bool:
        """Whether the key belongs to an accepted order or a running checkout, so that placing it again is a replay."""
        if not idempotency_key or not _KEY.fullmatch(idempotency_key):
            return False
        return await self._orders.has_key(_hash_of(idempotency_key))

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
            order = await self.read(order_id, owner=owner)
            if order.reason is CancelReason.REQUESTED:
                return order
            if order.status not in CANCELLABLE:
                raise CancelTooLate(order.status)
            try:
                cancelled, entry = await self._orders.cancel(
                    order, at=self._clock_ms(), message=self._message(order.as_accepted())
                )
            except StatusConflict:
                continue
            self._dispatch(entry)
            return cancelled

    async def events(
        self, order_id: str, *, after: int = 0, heartbeat_s: float = math.inf, owner: str | None = None
    ) -> AsyncIterator[OrderEvent | None]:
        """The history of the order after event number `after`, as it grows; ends with the final status.

        Yields None after each `heartbeat_s` without an event. Raises `OrderNotFound`, at the first step.
        """
        quiet_s = 0.0
        while True:
            order = await self.read(order_id, owner=owner)
            for number, entry in enumerate(order.history[after:], start=after + 1):
                yield OrderEvent(number, entry)
            if order.status.is_final:
                return
            quiet_s = 0.0 if len(order.history) > after else quiet_s + self._poll_s
            after = max(after, len(order.history))
            if quiet_s >= heartbeat_s:
                quiet_s = 0.0
                yield None
            await asyncio.sleep(self._poll_s)

    async def close(self) -> None:
        """Wait for the checkouts that still run, also those whose clients have disconnected."""
        if self._running:
            await asyncio.wait(self._running)

    def _validated(self, request: CheckoutRequest, key: str, owner: str | None) -> Purchase:
        """Validate the request. Raises `InvalidBody` with all faults of the body, or `CartNotFound` for a malformed cart id."""
        faults = request.faults()
        method = request.shipping_method or next(iter(self._shipping))
        if method not in self._shipping:
            faults.append(("/shipping_method", f"must be one of: {', '.join(self._shipping)}"))
        if faults:
            raise InvalidBody(faults)
        claim = Claim(
            cart_id=_validated_cart_id(request.cart_id),
            key_hash=_hash_of(key),
            fingerprint=request.fingerprint(),
            token=self._new_token(),
            owner=owner,
        )
        return Purchase(request=request, claim=claim, shipping_method=method, shipping=self._shipping[method])


def _hash_of(key: str) -> str:
    """A hash of the idempotency key; its text is not stored, because it may be personal data."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _validated_key(key: str | None) -> str:
    if not key:
        raise IdempotencyKeyMissing("Send an Idempotency-Key header, and the same one when you retry this checkout.")
    if len(key) > 255:
        raise IdempotencyKeyMissing(f"The Idempotency-Key has {len(key)} characters; at most 255 are accepted.")
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyMissing("The Idempotency-Key must be printable ASCII.")
    return key


def _validated_cart_id(text: str) -> CartId:
    cart_id = parse_cart_id(text)
    if cart_id is None:
        raise CartNotFound
    return cart_id

"""The checkout calls as plain typed coroutines: no HTTP, no store, only the ports."""

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
from cart.model import CartId, parse_cart_id, parse_order_id, unix_ms
from cart.ports import PriceBook
from checkout.errors import CancelTooLate, IdempotencyKeyMissing, OrderNotFound, StatusConflict
from checkout.order import CANCELLABLE, CancelReason, HistoryEntry, Order
from checkout.place_order import OrderPlacement
from checkout.ports.orders import Claim, Merges, Orders
from checkout.ports.outbox import OutboxEntry
from checkout.ports.stock import Stock
from checkout.purchase import PlacedOrder, Purchase
from checkout.request import CheckoutRequest

FREE_SHIPPING: Final = {"standard": 0}

_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")


class OrderEvent(msgspec.Struct, frozen=True):
    """The `number`-th thing that happened to an order, from 1."""

    number: int
    entry: HistoryEntry


class CheckoutHandlers:
    """What shoppers can do with orders.

    `message` makes the bytes that workers read; `dispatch` takes the outbox entry of an order just accepted and returns
    at once. `shipping` names the methods there are, the usual one first, and what each costs in minor units of any
    currency. Calls may also raise what the adapters raise when their service is away; a checkout may then be tried again
    with the same key.
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
        `OrderNotDurable`; the cart, the stock and the key are then as they were.
        """
        purchase = self._checked(request, _checked_key(idempotency_key), owner)
        # A shopper who hangs up, or a deadline, must not stop a checkout between its steps: it ends by itself.
        task = asyncio.create_task(self._placement.place(purchase))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def is_known_idempotency_key(self, idempotency_key: str | None) -> bool:
        """Whether a checkout with this key was kept or is running, so that placing it again is only a look at its order."""
        if not idempotency_key or not _KEY.fullmatch(idempotency_key):
            return False
        return await self._orders.has_key(_hash_of(idempotency_key))

    async def read(self, order_id: str, *, owner: str | None = None) -> Order:
        """The order as it stands. Raises `OrderNotFound`."""
        known = parse_order_id(order_id)
        order = await self._orders.read(known) if known is not None else None
        if order is None or order.owner not in {None, owner}:
            raise OrderNotFound
        return order

    async def cancel(self, order_id: str, *, owner: str | None = None) -> Order:
        """Cancel the order at the shopper's request; a worker gives back stock and money after the answer.

        Repeating it is no fault. Raises `OrderNotFound`, and `CancelTooLate` once it is on its way or over.
        """
        while True:  # at most once per status: they only move on
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
        """What happened to the order after event number `after`, and what does from now on; ends with its final status.

        None tells that nothing has happened for `heartbeat_s`. Raises `OrderNotFound`, at the first step.
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
        """Wait for the checkouts that still run though nobody waits for their answer any more."""
        if self._running:
            await asyncio.wait(self._running)

    def _checked(self, request: CheckoutRequest, key: str, owner: str | None) -> Purchase:
        """Raises `InvalidBody` with all faults of the body, or `CartNotFound` for what cannot be a cart's id."""
        faults = request.faults()
        method = request.shipping_method or next(iter(self._shipping))
        if method not in self._shipping:
            faults.append(("/shipping_method", f"must be one of: {', '.join(self._shipping)}"))
        if faults:
            raise InvalidBody(faults)
        claim = Claim(
            cart_id=_checked_cart_id(request.cart_id),
            key_hash=_hash_of(key),
            fingerprint=request.fingerprint(),
            token=self._new_token(),
            owner=owner,
        )
        return Purchase(request=request, claim=claim, shipping_method=method, shipping=self._shipping[method])


def _hash_of(key: str) -> str:
    """An idempotency key as it is kept: its text may be anything, also personal."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _checked_key(key: str | None) -> str:
    if not key:
        raise IdempotencyKeyMissing(
            "send an Idempotency-Key header, the same one whenever this checkout is tried again"
        )
    if len(key) > 255:
        raise IdempotencyKeyMissing(f"an Idempotency-Key has at most 255 characters; this one has {len(key)}")
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyMissing("an Idempotency-Key is printable ASCII")
    return key


def _checked_cart_id(text: str) -> CartId:
    cart_id = parse_cart_id(text)
    if cart_id is None:
        raise CartNotFound
    return cart_id

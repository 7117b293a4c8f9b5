"""Stock in Redis or Valkey: script calls for the lines of an order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from cart.model import CartId, OrderId, Sku
from cart.sku_keys import (
    cart_hold_name,
    cart_holds_key,
    hold_changes_key,
    holds_key,
    product_key,
    purchases_key,
    restocked_key,
)
from checkout.errors import HoldOutcome, IdempotencyKeyInProgress, OverLimit, Shortage, SoldAhead, StockNotHeld
from checkout.ports.stock import HOLD_MS, PER_SHOPPER_MS, RESTOCKED_MS, StockLine, Wanted
from store import Script, Store

T = TypeVar("T")


def _script(*names: str, flags: str = "") -> Script:
    return Script.from_files(*(("checkout.redis", f"scripts/{name}.lua") for name in names), flags=flags)


HOLD: Final = _script("hold_changes", "purchases", "hold")
CONFIRM: Final = _script("confirm")
RETURN_STOCK: Final = _script("hold_changes", "purchases", "return_stock", flags="allow-oom")
COMPLETE: Final = _script("hold_changes", "complete", flags="allow-oom")
RESTOCK: Final = _script("remember", "restock", flags="allow-oom")


# The lines of one script call, during which the server does nothing else.
MAX_LINES: Final = 64
_HELD: Final = -1
_OVERTAKEN: Final = -2
# Less the units that are left to the shopper.
_OVER_LIMIT: Final = -3
# Of the script that confirms.
_NOT_HELD: Final = -1


class RedisStock:
    """`Stock` on a store: script calls of up to `lines_per_call` lines of an order.

    An order counts for the limits of its shopper for `per_shopper_ms`.

    The SKUs of an order are in different slots, so a cluster needs a call for each: `lines_per_call` is 1 there. Such calls run at
    once, and one after the other in the order of the SKUs where two orders may have refused each other (ADR 54).
    """

    def __init__(
        self,
        store: Store,
        *,
        hold_ms: int = HOLD_MS,
        per_shopper_ms: int = PER_SHOPPER_MS,
        lines_per_call: int = MAX_LINES,
    ) -> None:
        self._store = store
        self._hold_ms = hold_ms
        self._per_shopper_ms = per_shopper_ms
        self._lines_per_call = lines_per_call

    async def hold(
        self,
        order_id: OrderId,
        lines: Sequence[Wanted],
        *,
        fence: int,
        shoppers: Sequence[str] = (),
        cart_id: CartId | None = None,
    ) -> list[HoldOutcome]:
        """See `Stock.hold`."""
        cart = "" if cart_id is None else cart_hold_name(cart_id)
        args = (order_id, fence, self._hold_ms, " ".join(shoppers), self._per_shopper_ms, cart)
        outcomes = await self._hold_all(lines, args)
        if len(lines) <= self._lines_per_call or not any(isinstance(each, Shortage) for each in outcomes):
            return outcomes
        refused = {each.sku for each in outcomes if not isinstance(each, SoldAhead)}
        held = [line.sku for line in lines if line.sku not in refused]
        if not held:
            return outcomes
        # Another order may hold the missing units, and lack those held here.
        await self.release(order_id, held, fence=fence, cart_id=cart_id)
        in_order = await self._hold_in_order(lines, args, cart_id)
        return outcomes if in_order is None else in_order

    async def _hold_in_order(
        self, lines: Sequence[Wanted], args: Sequence[Any], cart_id: CartId | None
    ) -> list[HoldOutcome] | None:
        """Hold all lines, one call after the other; None, with nothing held, if one is refused."""
        outcomes: list[HoldOutcome] = []
        ordered = sorted(lines, key=_sku_of)
        for part in self._parts(ordered):
            outcomes += await self._hold_all(part, args)
            if any(not isinstance(each, SoldAhead) for each in outcomes):
                order_id, fence = args[:2]
                await self.release(order_id, [line.sku for line in ordered], fence=fence, cart_id=cart_id)
                return None
        return outcomes

    async def _hold_all(self, lines: Sequence[Wanted], args: Sequence[Any]) -> list[HoldOutcome]:
        replies = await _all([self._hold(part, args) for part in self._parts(lines)])
        if _OVERTAKEN in replies:
            raise IdempotencyKeyInProgress
        return [_outcome(line, reply) for line, reply in zip(lines, replies, strict=True) if reply != _HELD]

    def _hold(self, lines: Sequence[Wanted], args: Sequence[Any]) -> Awaitable[list[Any]]:
        skus = [line.sku for line in lines]
        # Without shoppers nobody is asked for purchases.
        keys = _keys_with_purchases(skus) if args[3] else _changing(skus)
        return self._store.run(HOLD, keys, [*args, *[line.quantity for line in lines]])

    async def release(
        self, order_id: OrderId, skus: Collection[Sku], *, fence: int, cart_id: CartId | None = None
    ) -> None:
        """See `Stock.release`."""
        cart = () if cart_id is None else (cart_hold_name(cart_id),)
        await self._return(order_id, skus, "claimed", fence, *cart)

    async def confirm(
        self, order_id: OrderId, skus: Collection[Sku], *, reads_units_left: bool = False
    ) -> Mapping[Sku, int]:
        """See `Stock.confirm`."""
        args: tuple[str, int] = (order_id, int(reads_units_left))
        replies = await _all([self._store.run(CONFIRM, _keys(part), args) for part in self._parts(skus)])
        units_left = dict(zip(skus, replies, strict=True))
        missing = [sku for sku, units in units_left.items() if units == _NOT_HELD]
        if missing:
            raise StockNotHeld(missing)
        return units_left if reads_units_left else {}

    async def cancel(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """See `Stock.cancel`."""
        await self._return(order_id, skus, "any")

    async def complete(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """See `Stock.complete`."""
        await _all([self._store.run(COMPLETE, _changing(part), [order_id]) for part in self._parts(skus)])

    async def restock(self, order_id: OrderId, lines: Sequence[StockLine], *, report: str) -> None:
        """See `Stock.restock`."""
        await _all(
            [
                self._store.run(
                    RESTOCK,
                    [product_key(line.sku), restocked_key(line.sku)],
                    [order_id, line.quantity, RESTOCKED_MS, report],
                )
                for line in lines
            ]
        )

    async def expire(self, order_id: OrderId, skus: Collection[Sku]) -> bool:
        """See `Stock.expire`."""
        return all(await self._return(order_id, skus, "expired"))

    def _return(self, order_id: OrderId, skus: Collection[Sku], which: str, *more: str | int) -> Awaitable[list[Any]]:
        return _all(
            [
                self._store.run(
                    RETURN_STOCK,
                    _returning(part),
                    [order_id, which, *more],
                )
                for part in self._parts(skus)
            ]
        )

    def _parts(self, lines: Collection[T]) -> Iterable[Sequence[T]]:
        """The lines of each call."""
        listed = list(lines)
        return [listed[first : first + self._lines_per_call] for first in range(0, len(listed), self._lines_per_call)]


def _keys(skus: Iterable[Sku]) -> list[str]:
    """For each SKU, its product and its holds."""
    return [key for sku in skus for key in (product_key(sku), holds_key(sku))]


def _changing(skus: Iterable[Sku]) -> list[str]:
    """The same, and the changes of its holds."""
    return [key for sku in skus for key in (product_key(sku), holds_key(sku), hold_changes_key(sku))]


def _keys_with_purchases(skus: Iterable[Sku]) -> list[str]:
    """The same, and the purchases of its shoppers."""
    keys: list[str] = []
    for sku in skus:
        keys += (product_key(sku), holds_key(sku), hold_changes_key(sku), purchases_key(sku))
    return keys


def _returning(skus: Iterable[Sku]) -> list[str]:
    """The same, and the carts with holds."""
    keys: list[str] = []
    for sku in skus:
        keys += (*_keys_with_purchases((sku,)), cart_holds_key(sku))
    return keys


def _sku_of(line: Wanted) -> Sku:
    return line.sku


def _outcome(line: Wanted, reply: Any) -> HoldOutcome:
    if isinstance(reply, list):
        units, available_on = reply
        return SoldAhead(line.sku, units, available_on.decode().strip('"'))
    if reply <= _OVER_LIMIT:
        return OverLimit(line.sku, line.quantity, _OVER_LIMIT - reply)
    return Shortage(line.sku, line.quantity, reply)


async def _all(calls: Sequence[Awaitable[list[Any] | None]]) -> list[Any]:
    """The replies of all calls, one after the other.

    Raises the first failure after every call has ended, so that no call overlaps the next step.
    """
    if len(calls) == 1:
        return await calls[0] or []
    replies = await asyncio.gather(*calls, return_exceptions=True)
    flat: list[Any] = []
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
        flat += reply or ()
    return flat

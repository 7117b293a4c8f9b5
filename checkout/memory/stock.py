"""Stock in memory, for tests; the same rules as the Redis scripts, in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from cart.model import CartId, OrderId, Sku
from cart.ports import LineHold
from cart.sku_keys import cart_hold_name
from cart.timestamps import unix_ms
from checkout.errors import HoldOutcome, IdempotencyKeyInProgress, OverLimit, Shortage, SoldAhead, StockNotHeld
from checkout.ports.books import Hold
from checkout.ports.stock import HOLD_MS, PER_SHOPPER_MS, StockLine, Wanted


class _Hold(msgspec.Struct, frozen=True):
    """`until_ms` is None for a sale."""

    quantity: int
    until_ms: int | None
    fence: int


class _Purchase(msgspec.Struct, frozen=True):
    """The units of a SKU that an order has for each of its shoppers."""

    shoppers: Sequence[str]
    quantity: int
    at_ms: int


class MemoryStock:
    """`Stock` in dicts. No call awaits, so each is one atomic change.

    `per_shopper` has the limits of SKUs for one shopper, and `ahead` of those that are sold ahead the most units beyond the stock.
    """

    def __init__(self, available: Mapping[Sku, int], *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self.available = dict(available)
        self.imported = dict(available)
        self.adjusted: Counter[Sku] = Counter()
        self.sold: Counter[Sku] = Counter()
        self.per_shopper: dict[Sku, int] = {}
        self.ahead: dict[Sku, SoldAhead] = {}
        self._holds: dict[tuple[Sku, OrderId], _Hold] = {}
        self._purchases: dict[tuple[Sku, OrderId], _Purchase] = {}
        # The end of the hold that a cart has, or had before an order took it over, in ms.
        self.cart_ends: dict[tuple[Sku, CartId], int] = {}
        self._restocked: set[tuple[Sku, OrderId, str]] = set()
        self._clock_ms = clock_ms

    def taken(self, sku: Sku) -> int:
        """The units of a SKU that are held, or sold for orders that are not completed."""
        return sum(hold.quantity for (held, _), hold in self._holds.items() if held == sku)

    def adjust(self, sku: Sku, available: int) -> None:
        """Have so many units for sale."""
        self.adjusted[sku] += available - self.available.get(sku, 0)
        self.imported.setdefault(sku, 0)
        self.available[sku] = available

    def count(self, sku: Sku, available: int) -> None:
        """The same, after which the books agree."""
        self.available[sku] = available
        self.adjusted[sku] = available + self.sold[sku] + self.taken(sku) - self.imported.setdefault(sku, 0)

    def holds(self, sku: Sku) -> Mapping[OrderId, Hold]:
        """The holds of a SKU."""
        return {
            order_id: Hold(hold.quantity, hold.until_ms)
            for (held, order_id), hold in self._holds.items()
            if held == sku
        }

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
        outcomes = [self._hold_one(order_id, line, fence, shoppers, cart_id) for line in lines]
        return [outcome for outcome in outcomes if outcome is not None]

    def _hold_one(
        self, order_id: OrderId, line: Wanted, fence: int, shoppers: Sequence[str], cart_id: CartId | None
    ) -> HoldOutcome | None:
        hold = self._holds.get((line.sku, order_id), _Hold(0, 0, 0))
        if hold.until_ms is None or hold.fence > fence:
            raise IdempotencyKeyInProgress
        of_cart = self.cart_hold(line.sku, cart_id)
        free = self.available.get(line.sku, 0) + hold.quantity + (0 if of_cart is None else of_cart.quantity)
        ahead = self.ahead.get(line.sku)
        most = free if ahead is None else free + ahead.units
        if line.quantity > max(most, hold.quantity):
            return Shortage(line.sku, line.quantity, max(most, 0))
        if shoppers and (limit := self.per_shopper.get(line.sku)) is not None:
            remaining = max(limit - self._bought(order_id, line.sku, shoppers), 0)
            if line.quantity > remaining:
                return OverLimit(line.sku, line.quantity, remaining)
            self._purchases[line.sku, order_id] = _Purchase(shoppers, line.quantity, self._clock_ms())
        self.available[line.sku] = free - line.quantity
        if of_cart is not None and cart_id is not None:
            del self._holds[line.sku, cart_name(cart_id)]
        self._holds[line.sku, order_id] = _Hold(line.quantity, self._clock_ms() + HOLD_MS, fence)
        units_ahead = min(line.quantity - free, line.quantity)
        if units_ahead > 0 and ahead is not None:
            return msgspec.structs.replace(ahead, units=units_ahead)
        return None

    def _bought(self, but_order: OrderId, sku: Sku, shoppers: Sequence[str]) -> int:
        """The most units that one of these names has in other orders."""
        since = self._clock_ms() - PER_SHOPPER_MS
        units: Counter[str] = Counter()
        for (bought, order_id), purchase in self._purchases.items():
            if bought == sku and order_id != but_order and purchase.at_ms > since:
                units.update(dict.fromkeys(purchase.shoppers, purchase.quantity))
        return max((units[name] for name in shoppers), default=0)

    def cart_hold(self, sku: Sku, cart_id: CartId | None) -> LineHold | None:
        """The units that a cart holds, also behind their end while they are not freed."""
        hold = None if cart_id is None else self._holds.get((sku, cart_name(cart_id)))
        if hold is None or hold.until_ms is None:
            return None
        return LineHold(hold.quantity, hold.until_ms, bool(hold.fence))

    def set_cart_hold(self, sku: Sku, cart_id: CartId, hold: LineHold | None) -> None:
        """Hold these units for the cart from now on, None for none."""
        before = self.cart_hold(sku, cart_id)
        self.available[sku] += (0 if before is None else before.quantity) - (0 if hold is None else hold.quantity)
        self._holds.pop((sku, cart_name(cart_id)), None)
        self.cart_ends.pop((sku, cart_id), None)
        if hold is not None:
            self._holds[sku, cart_name(cart_id)] = _Hold(hold.quantity, hold.until, int(hold.is_extended))
            self.cart_ends[sku, cart_id] = hold.until

    def _give_back_to_cart(self, order_id: OrderId, skus: Collection[Sku], fence: int, cart_id: CartId) -> None:
        now = self._clock_ms()
        for sku in skus:
            hold, until = self._holds.get((sku, order_id)), self.cart_ends.get((sku, cart_id), 0)
            if hold is None or hold.until_ms is None or hold.fence > fence or until <= now:
                continue
            del self._holds[sku, order_id]
            self._purchases.pop((sku, order_id), None)
            self._holds[sku, cart_name(cart_id)] = _Hold(hold.quantity, until, 1)

    async def release(
        self, order_id: OrderId, skus: Collection[Sku], *, fence: int, cart_id: CartId | None = None
    ) -> None:
        """See `Stock.release`."""
        if cart_id is not None:
            self._give_back_to_cart(order_id, skus, fence, cart_id)
        self._return(order_id, skus, lambda hold: hold.until_ms is not None and hold.fence <= fence)

    async def confirm(
        self, order_id: OrderId, skus: Collection[Sku], *, reads_units_left: bool = False
    ) -> Mapping[Sku, int]:
        """See `Stock.confirm`."""
        missing = [sku for sku in skus if (sku, order_id) not in self._holds]
        for sku in skus:
            if (hold := self._holds.get((sku, order_id))) is not None:
                self._holds[sku, order_id] = msgspec.structs.replace(hold, until_ms=None)
        if missing:
            raise StockNotHeld(missing)
        return {sku: self.available.get(sku, 0) for sku in skus} if reads_units_left else {}

    async def cancel(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """See `Stock.cancel`."""
        self._return(order_id, skus, lambda _hold: True)

    async def complete(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """See `Stock.complete`."""
        for sku in skus:
            hold = self._holds.get((sku, order_id))
            if hold is not None and hold.until_ms is None:
                del self._holds[sku, order_id]
                self.sold[sku] += hold.quantity

    async def restock(self, order_id: OrderId, lines: Sequence[StockLine], *, report: str) -> None:
        """See `Stock.restock`."""
        for line in lines:
            if (line.sku, order_id, report) not in self._restocked:
                self._restocked.add((line.sku, order_id, report))
                self.available[line.sku] = self.available.get(line.sku, 0) + line.quantity
                self.sold[line.sku] -= line.quantity

    async def expire(self, order_id: OrderId, skus: Collection[Sku]) -> bool:
        """See `Stock.expire`."""
        now = self._clock_ms()
        self._return(order_id, skus, lambda hold: hold.until_ms is not None and hold.until_ms <= now)
        return not any((sku, order_id) in self._holds for sku in skus)

    def _return(self, order_id: OrderId, skus: Collection[Sku], condition: Callable[[_Hold], bool]) -> None:
        for sku in skus:
            hold = self._holds.get((sku, order_id))
            if hold is not None and condition(hold):
                del self._holds[sku, order_id]
                self._purchases.pop((sku, order_id), None)
                self.available[sku] += hold.quantity


def cart_name(cart_id: CartId) -> OrderId:
    """The name of a cart among the orders that hold units."""
    return OrderId(cart_hold_name(cart_id))

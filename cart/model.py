"""Carts, their lines and limits, products and money. The rules by which a cart changes are in `changes`.

Times are integers, Unix milliseconds UTC; amounts are integers, minor units of a currency.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final, Literal, NewType

import msgspec

from cart.coupons import Coupon
from cart.scheduled_prices import Periods, PricePeriod, holding, lowest, next_change

Sku = NewType("Sku", str)
CartId = NewType("CartId", str)
OrderId = NewType("OrderId", str)

Status = Literal["open", "merging", "ordered", "merged"]
Strategy = Literal["sum", "max", "keep"]

# The mark of a view whose prices were not confirmed for a while.
STALE_PRICES = ("prices",)
QUANTITY_BITS = 20
DAY_MS = 86_400_000


CurrencyCode = Annotated[str, msgspec.Meta(description="ISO 4217.", examples=["GBP"])]
# A time as `timestamps.rfc3339` formats it.
Timestamp = Annotated[
    str,
    msgspec.Meta(
        description="RFC 3339, in UTC.",
        examples=["2026-11-27T06:00:00.000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]


class Money(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An amount in minor units of an ISO 4217 currency: `Money(255, "GBP")` is £2.55."""

    amount: Annotated[
        int, msgspec.Meta(description="Minor units.", examples=[255], extra_json_schema={"format": "int64"})
    ]
    currency: CurrencyCode


SoldAhead = Literal["backorder", "preorder"]
# Of a product that is sold ahead without a limit; the script that holds stock has the same number.
MOST_AHEAD: Final = 10**12


# The longest time for which a cart holds units.
MAX_HOLD_AT_CART_S: Final = 3_600


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a product is sold, beside its price. A member that is not said has its default.

    `weight_class` and `tax_class` are names of the shop's configuration (`docs/prices.md`); empty for the first of each.
    `scheduled_prices` hold in place of the ordinary price, each in its time.
    `per_shopper` is the most units for one shopper within the shop's `--per-shopper-days`; 0 for no limit.
    `hold_at_cart` is how long the units of a cart's line are held, in seconds; 0 for not at all.
    `sold_ahead` products are sold beyond their stock, up to `ahead_limit` units, 0 for no limit; they come about `available_on`, an
    ISO 8601 date, empty for an unknown one.
    With a `coupon` it is none of the goods.
    """

    weight_class: str = ""
    tax_class: str = ""
    scheduled_prices: Periods = ()
    per_shopper: int = 0
    sold_ahead: SoldAhead | Literal[""] = ""
    hold_at_cart: int = 0
    ahead_limit: int = 0
    available_on: str = ""
    coupon: Coupon | None = None

    @property
    def ahead_units(self) -> int:
        """The units that may be sold beyond the stock."""
        return (self.ahead_limit or MOST_AHEAD) if self.sold_ahead else 0


NO_TERMS: Final = Terms()


class Product(msgspec.Struct, frozen=True, dict=True):
    """A SKU in the price book: its name, its price in minor units of `currency`, its category if it has one, and its terms.

    With scheduled prices, `price` is that of the instant of `at`, and `period` the time around it.
    """

    sku: Sku
    name: str
    price: int
    currency: str
    category: str = ""
    terms: Terms = NO_TERMS
    period: PricePeriod | None = None

    @property
    def ordinary_price(self) -> int:
        """The price outside of scheduled ones."""
        return self.price if self.period is None else self.period.ordinary

    @property
    def was(self) -> int | None:
        """The ordinary price while a lower one holds."""
        return self.period.ordinary if self.period is not None and self.period.ordinary > self.price else None

    @property
    def price_until(self) -> int | None:
        """The end of the scheduled price that holds, in Unix milliseconds."""
        return None if self.period is None else self.period.until

    @property
    def price_ends_at(self) -> int | None:
        """When the price may change next, in Unix milliseconds; None where nothing is scheduled any more."""
        return None if self.period is None else self.period.ends_at

    def at(self, now: int) -> Product:
        """The product with its price of that instant; itself where nothing differs."""
        periods = self.terms.scheduled_prices
        if not periods:
            return self
        ordinary, current = self.ordinary_price, holding(periods, now)
        until = None if current is None else current.until
        period = PricePeriod(ordinary, until, next_change(periods, now))
        price = ordinary if current is None else current.price
        if price == self.price and period == self.period:
            return self
        return msgspec.structs.replace(self, price=price, period=period)

    def lowest_price(self, start: int, until: int) -> int:
        """The lowest price that holds at some instant from `start` to `until`, both included."""
        return lowest(self.terms.scheduled_prices, self.ordinary_price, start, until)

    @cached_property
    def json_parts(self) -> tuple[bytes, bytes]:
        """A cart line of this product in JSON, with a comma before it: up to its quantity, and from there to its total.

        Cached with the product: it saves encoding names and prices again at every read of every cart.
        """
        head = b',{"sku":%b,"name":%b,"quantity":' % (msgspec.json.encode(self.sku), msgspec.json.encode(self.name))
        tail = b',"unit_price":%b,"total":{"amount":' % msgspec.json.encode(Money(self.price, self.currency))
        return head, tail


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The maximum size of a cart, and its lifetime after its last change.

    Raises `ValueError` for a limit below 1, and for a `max_quantity` that has no room in a stored line (20 bits).
    """

    max_lines: int = 1000
    max_quantity: int = 10_000
    anonymous_ttl_ms: int = 30 * DAY_MS
    owned_ttl_ms: int = 90 * DAY_MS

    def __post_init__(self) -> None:
        if min(self.max_lines, self.max_quantity, self.anonymous_ttl_ms, self.owned_ttl_ms) < 1:
            raise ValueError("limits of a cart begin at 1")
        if self.max_quantity >= 1 << QUANTITY_BITS:
            raise ValueError(f"a quantity limit must be below {1 << QUANTITY_BITS}")


class Line(msgspec.Struct, frozen=True, gc=False):
    """So many of a SKU; `quoted` is the unit price, in minor units, that the shopper saw when the line was last written."""

    sku: Sku
    quantity: int
    quoted: int


class Cart(msgspec.Struct, frozen=True, kw_only=True):
    """A cart as it was at `version`; lines are in the order of their first adding.

    A change makes the version rise by one. A write that changes nothing leaves version, `updated_at` and expiry alone.
    `merging` is a state of the store only: readers get such a cart as `open` or `merged`.
    """

    id: CartId
    currency: str
    created_at: int
    updated_at: int
    version: int = 1
    lines: tuple[Line, ...] = ()
    status: Status = "open"
    owner: str | None = None
    order_id: OrderId | None = None
    merged_into: CartId | None = None

    @property
    def skus(self) -> list[Sku]:
        """The SKU of every line, in the order of the lines."""
        return [line.sku for line in self.lines]

    @property
    def item_count(self) -> int:
        """The sum of all quantities."""
        return sum(line.quantity for line in self.lines)

    def expires_at(self, limits: Limits) -> int:
        """When the cart expires unless it changes before, in Unix milliseconds."""
        return self.updated_at + self.lifetime_ms(limits)

    def lifetime_ms(self, limits: Limits) -> int:
        """How long the cart lives after a change, in milliseconds."""
        return limits.anonymous_ttl_ms if self.owner is None else limits.owned_ttl_ms

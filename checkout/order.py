"""Orders: their lines, history and transitions, and their JSON.

Times are integers, Unix milliseconds UTC; amounts are integers, minor units of the order's currency.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from cart.model import CartId, Money, OrderId, Sku
from cart.timestamps import rfc3339
from checkout import responses
from checkout.order_status import CancelReason, OrderStatus, may_move


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The order became `status` at `at`; `detail` is text for people."""

    status: OrderStatus
    at: int
    detail: str | None = None

    def to_response(self) -> responses.OrderEvent:
        """The entry as the API sends it."""
        return responses.OrderEvent(
            self.status, rfc3339(self.at), msgspec.UNSET if self.detail is None else self.detail
        )


class OrderLine(msgspec.Struct, frozen=True):
    """A quantity of a SKU, at its unit price when the order was accepted."""

    sku: Sku
    name: str
    quantity: int
    unit_price: int

    @property
    def total(self) -> int:
        """Price of the line, in minor units."""
        return self.quantity * self.unit_price


class Address(msgspec.Struct, frozen=True, omit_defaults=True):
    """The shipping address; `country` is ISO 3166-1 alpha-2 in capitals."""

    name: str
    line1: str
    city: str
    postcode: str
    country: str
    line2: str | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order. Only `status`, `reason`, `history` and `updated_at` change.

    `payment_token` names the shopper's means of payment at the payment service; no response contains it.
    """

    id: OrderId
    cart_id: CartId
    currency: str
    lines: tuple[OrderLine, ...]
    shipping_method: str
    shipping: int
    email: str
    shipping_address: Address
    payment_token: str
    created_at: int
    updated_at: int
    history: tuple[HistoryEntry, ...]
    status: OrderStatus = OrderStatus.ACCEPTED
    reason: CancelReason | None = None
    owner: str | None = None

    def __repr__(self) -> str:  # without address and token, for logs
        return f"Order(id={self.id!r}, status={self.status.value!r})"

    @property
    def number(self) -> str:
        """The order number, for people; see `order_number`."""
        return order_number(self.id)

    @property
    def skus(self) -> list[Sku]:
        """The SKU of every line."""
        return [line.sku for line in self.lines]

    @property
    def subtotal(self) -> int:
        """Price of the lines, in minor units."""
        return sum(line.total for line in self.lines)

    @property
    def total(self) -> int:
        """Price of the lines and shipping, in minor units."""
        return self.subtotal + self.shipping

    def as_accepted(self) -> Order:
        """The order as it was when it was accepted: the same in every later status, so that a replay has the same bytes."""
        return msgspec.structs.replace(
            self, status=OrderStatus.ACCEPTED, reason=None, history=self.history[:1], updated_at=self.created_at
        )

    def moved(
        self, to: OrderStatus, *, at: int, detail: str | None = None, reason: CancelReason | None = None
    ) -> Order:
        """The order after a transition at `at`; `reason` goes with `cancelled` and only with it.

        Raises `ValueError` for a transition that does not exist.
        """
        if not may_move(self.status, to):
            raise ValueError(f"an order that is {self.status} cannot become {to}")
        if (reason is None) == (to is OrderStatus.CANCELLED):
            raise ValueError("a cancelled order has a reason, and no other has")
        at = max(at, self.updated_at)  # the clock of another machine may be behind
        entry = HistoryEntry(to, at, detail)
        return msgspec.structs.replace(self, status=to, reason=reason, history=(*self.history, entry), updated_at=at)

    def to_json(self) -> bytes:
        """The order as the API sends it."""
        return msgspec.json.encode(
            responses.Order(
                id=self.id,
                number=self.number,
                cart_id=self.cart_id,
                status=self.status,
                reason=msgspec.UNSET if self.reason is None else self.reason,
                lines=[self._line_response(line) for line in self.lines],
                subtotal=self._money(self.subtotal),
                discounts=[],
                shipping=self._money(self.shipping),
                total=self._money(self.total),
                email=self.email,
                created_at=rfc3339(self.created_at),
                updated_at=rfc3339(self.updated_at),
                history=[entry.to_response() for entry in self.history],
            )
        )

    def _line_response(self, line: OrderLine) -> responses.OrderLine:
        return responses.OrderLine(
            sku=line.sku,
            name=line.name,
            quantity=line.quantity,
            unit_price=self._money(line.unit_price),
            total=self._money(line.total),
        )

    def _money(self, amount: int) -> Money:
        return Money(amount, self.currency)


# Without characters that are confused when read aloud or copied by hand (0 O, 1 I L, U, Z, S, B), and without A and E,
# so that no words are formed.
_NUMBER_ALPHABET: Final = "23456789CDFGHJKMNPQRTVWXY"


def order_number(order_id: OrderId) -> str:
    """The order number that people read and write: `7KQ3M-XP4RT`.

    Ten of 25 characters, derived from the order id. Not unique: among ten million orders, two have the same number with
    a probability of about 0.4.
    """
    rest = int.from_bytes(hashlib.sha256(f"number:{order_id}".encode()).digest()[:8])
    letters = []
    for _ in range(10):
        rest, digit = divmod(rest, len(_NUMBER_ALPHABET))
        letters.append(_NUMBER_ALPHABET[digit])
    return f"{''.join(letters[:5])}-{''.join(letters[5:])}"

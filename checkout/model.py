"""What an order is: what was sold to whom, where it stands, and the only ways it can move.

Times are integers, Unix milliseconds UTC; amounts are integers, minor units of the order's currency.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cart.model import CartId, Money, OrderId, Sku, rfc3339

# --- status


class OrderStatus(StrEnum):
    """Where an order stands. `completed` and `cancelled` are final."""

    ACCEPTED = "accepted"
    STOCK_CONFIRMED = "stock_confirmed"
    PAYMENT_AUTHORISED = "payment_authorised"
    SHIPPING_ARRANGED = "shipping_arranged"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether no transition leads on from here."""
        return self not in NEXT


class CancelReason(StrEnum):
    """Why an order was cancelled."""

    OUT_OF_STOCK = "out_of_stock"
    PAYMENT_DECLINED = "payment_declined"
    SHIPPING_FAILED = "shipping_failed"
    REQUESTED = "requested"


# The way of an order; every status but the last may also turn into `cancelled`. No other transition exists.
NEXT: Final = {
    OrderStatus.ACCEPTED: OrderStatus.STOCK_CONFIRMED,
    OrderStatus.STOCK_CONFIRMED: OrderStatus.PAYMENT_AUTHORISED,
    OrderStatus.PAYMENT_AUTHORISED: OrderStatus.SHIPPING_ARRANGED,
    OrderStatus.SHIPPING_ARRANGED: OrderStatus.COMPLETED,
}
# Until then no money has moved. Afterwards the shopper's wish to cancel comes too late.
CANCELLABLE: Final = frozenset({OrderStatus.ACCEPTED, OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED})


def may_move(here: OrderStatus, to: OrderStatus) -> bool:
    """Whether this transition exists."""
    return here in NEXT and to in {NEXT[here], OrderStatus.CANCELLED}


# --- the order


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The order became `status` at `at`; `detail` is for people."""

    status: OrderStatus
    at: int
    detail: str | None = None


class OrderLine(msgspec.Struct, frozen=True):
    """So many of a SKU, at the unit price of the moment of ordering."""

    sku: Sku
    name: str
    quantity: int
    unit_price: int

    @property
    def total(self) -> int:
        """Price of the line, in minor units."""
        return self.quantity * self.unit_price


class Address(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the order goes; `country` is ISO 3166-1 alpha-2 in capitals."""

    name: str
    line1: str
    city: str
    postcode: str
    country: str
    line2: str | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One cart, sold once. All but `status`, `reason`, `history` and `updated_at` never changes.

    `payment_token` stands for the shopper's means of payment at the payment service; it is never shown.
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

    def __repr__(self) -> str:  # a log line must not hold an address or a token
        return f"Order(id={self.id!r}, status={self.status.value!r})"

    @property
    def number(self) -> str:
        """The short name of the order; see `order_number`."""
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
        """What the shopper pays, in minor units."""
        return self.subtotal + self.shipping

    def as_accepted(self) -> Order:
        """The order as it was when it was accepted; equal bytes however far it has come, so that a replay repeats its answer."""
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
        at = max(at, self.updated_at)  # another machine's clock may be behind
        entry = HistoryEntry(to, at, detail)
        return msgspec.structs.replace(self, status=to, reason=reason, history=(*self.history, entry), updated_at=at)

    def to_json(self) -> bytes:
        """The order as the API shows it (design section 5)."""
        return msgspec.json.encode(self._shown())

    def _shown(self) -> dict[str, Any]:
        def money(amount: int) -> Money:
            return Money(amount, self.currency)

        shown = {
            "id": self.id,
            "number": self.number,
            "cart_id": self.cart_id,
            "status": self.status,
            "reason": self.reason,
            "lines": [
                {
                    "sku": line.sku,
                    "name": line.name,
                    "quantity": line.quantity,
                    "unit_price": money(line.unit_price),
                    "total": money(line.total),
                }
                for line in self.lines
            ],
            "subtotal": money(self.subtotal),
            "discounts": [],
            "shipping": money(self.shipping),
            "total": money(self.total),
            "email": self.email,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "history": [history_entry_json(entry) for entry in self.history],
        }
        if self.reason is None:
            del shown["reason"]
        return shown


def history_entry_json(entry: HistoryEntry) -> dict[str, str]:
    """A history entry as the API shows it."""
    shown = {"status": entry.status.value, "at": rfc3339(entry.at)}
    return shown if entry.detail is None else shown | {"detail": entry.detail}


# Nothing that is mistaken for something else when read aloud or copied by hand: no 0 O, 1 I L, U V, and of 2 Z, 5 S, 8 B
# only the digits. No A, E either, so that no words come out.
_NUMBER_ALPHABET: Final = "23456789CDFGHJKMNPQRTVWXY"


def order_number(order_id: OrderId) -> str:
    """The short name of an order, for people: `7KQ3M-XP4RT`.

    Ten of 25 letters, a function of the order id. Two of ten million orders share a number with a chance of about four in
    ten, which is enough to find an order by; what must be unique uses the id.
    """
    rest = int.from_bytes(hashlib.sha256(f"number:{order_id}".encode()).digest()[:8])
    letters = []
    for _ in range(10):
        rest, digit = divmod(rest, len(_NUMBER_ALPHABET))
        letters.append(_NUMBER_ALPHABET[digit])
    return f"{''.join(letters[:5])}-{''.join(letters[5:])}"


# --- the request

_Line = Annotated[str, Meta(min_length=1, max_length=200)]
# Not `str.isprintable`: that refuses the wide space of Japanese addresses.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*")


class AddressBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `shipping_address` of a checkout; `postcode` may be empty where a country has none."""

    name: _Line
    line1: _Line
    city: _Line
    postcode: Annotated[str, Meta(max_length=20)]
    country: Annotated[str, Meta(min_length=2, max_length=2, pattern="^[A-Za-z]{2}$", description="ISO 3166-1 alpha-2")]
    line2: Annotated[str, Meta(max_length=200)] | None = None


class PaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payment service's stand-in for the shopper's means of payment; never a card number."""

    token: Annotated[str, Meta(min_length=1, max_length=255)]

    def __repr__(self) -> str:  # no token in logs
        return "PaymentBody(token=...)"


class ExpectedTotal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the shopper expects to pay, and agrees to if it is right."""

    amount: Annotated[int, Meta(ge=0, le=2**53)]
    currency: Annotated[str, Meta(min_length=3, max_length=3, pattern="^[A-Z]{3}$", description="ISO 4217")]


class CheckoutRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /v1/checkout`. Decoding checks its shape and lengths; `faults` checks the rest."""

    cart_id: Annotated[str, Meta(max_length=64)]
    email: Annotated[str, Meta(min_length=3, max_length=254)]
    shipping_address: AddressBody
    payment: PaymentBody
    shipping_method: Annotated[str, Meta(max_length=64)] | None = None
    expected_total: ExpectedTotal | None = None

    def __repr__(self) -> str:  # nor an address
        return f"CheckoutRequest(cart_id={self.cart_id!r})"

    def faults(self) -> list[tuple[str, str]]:
        """What is wrong with the contents, as (JSON pointer, detail) pairs; empty when nothing is."""
        address = self.shipping_address
        texts = {
            "/shipping_address/name": address.name,
            "/shipping_address/line1": address.line1,
            "/shipping_address/city": address.city,
            "/payment/token": self.payment.token,
        }
        found = [(pointer, "must not be blank") for pointer, text in texts.items() if not text.strip()]
        texts |= {
            "/email": self.email,
            "/shipping_address/line2": address.line2 or "",
            "/shipping_address/postcode": address.postcode,
        }
        # A line break in a name would end up in a letter's head or a mail's header.
        found += [(at, "must not hold control characters") for at, text in texts.items() if _CONTROL.search(text)]
        if not _EMAIL.fullmatch(self.email):
            found.append(("/email", "must be an email address, such as ada@example.com"))
        return found

    def fingerprint(self) -> str:
        """The same for equal bodies however they were written, another for any other body (128 bits, in hex)."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]

    def address(self) -> Address:
        """The address as the order keeps it."""
        given = self.shipping_address
        return Address(
            name=given.name,
            line1=given.line1,
            line2=given.line2 or None,
            city=given.city,
            postcode=given.postcode,
            country=given.country.upper(),
        )

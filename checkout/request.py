"""The body of a checkout request: its shape, limits and further checks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cart.bodies import CurrencyText
from cart.currencies import BAD_CURRENCY, is_currency
from cart.ids import parse_cart_id
from cart.model import CartId
from checkout.countries import COUNTRIES
from checkout.order import Address

_CountryText = Annotated[
    str,
    Meta(description="ISO 3166-1 alpha-2 code.", examples=["GB"], extra_json_schema={"pattern": "^[A-Za-z]{2}$"}),
]
_Line = Annotated[str, Meta(min_length=1, max_length=200)]
# Not `str.isprintable`, which rejects the ideographic space of Japanese addresses.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# The pointers of the texts of a body, the required ones first.
_TEXTS: Final = (
    "/shipping_address/name",
    "/shipping_address/line1",
    "/shipping_address/city",
    "/payment/token",
    "/email",
    "/shipping_address/line2",
    "/shipping_address/postcode",
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*")


class AddressBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `shipping_address` of a checkout; `postcode` may be empty where a country has none."""

    name: Annotated[_Line, Meta(description="The recipient.")]
    line1: Annotated[_Line, Meta(description="Street and number.")]
    city: Annotated[_Line, Meta(description="Town or city.")]
    postcode: Annotated[str, Meta(max_length=20, description="May be empty where a country has none.")]
    country: _CountryText
    line2: Annotated[str, Meta(max_length=200, description="More of the address.")] | None = None


class PaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of the shopper's means of payment at the payment service; never a card number."""

    token: Annotated[
        str, Meta(min_length=1, max_length=255, description="Of the payment service.", examples=["tok_ok"])
    ]

    def __repr__(self) -> str:  # without the token, for logs
        return "PaymentBody(token=...)"


class ExpectedTotal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The total that the shopper expects to pay; if it is right, it is consent to the current prices."""

    amount: Annotated[int, Meta(ge=0, le=2**53, description="Minor units.", extra_json_schema={"format": "int64"})]
    currency: CurrencyText


class CheckoutRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /v1/checkout`. Decoding checks its shape and lengths; `faults` checks the rest."""

    cart_id: Annotated[str, Meta(max_length=64, description="The cart to order.")]
    email: Annotated[str, Meta(min_length=3, max_length=254, description="The address for news of the order.")]
    shipping_address: AddressBody
    payment: PaymentBody
    shipping_method: (
        Annotated[str, Meta(max_length=64, description="One of the shop's methods; the first if it is absent.")] | None
    ) = None
    expected_total: ExpectedTotal | None = None

    def __repr__(self) -> str:  # without the address, for logs
        return f"CheckoutRequest(cart_id={self.cart_id!r})"

    def faults(self) -> list[tuple[str, str]]:
        """All faults of the contents, as (JSON pointer, detail) pairs."""
        address = self.shipping_address
        required = (address.name, address.line1, address.city, self.payment.token)
        texts = (*required, self.email, address.line2 or "", address.postcode)
        faults: list[tuple[str, str]] = []
        # One look at all of them finds no fault, nearly always.
        if not all(map(str.strip, required)):
            faults += [
                (at, "must not be blank") for at, text in zip(_TEXTS, required, strict=False) if not text.strip()
            ]
        # A line break in a name could inject a field into the header of an email.
        if _CONTROL.search("".join(texts)):
            found = zip(_TEXTS, texts, strict=True)
            faults += [(at, "must not hold control characters") for at, text in found if _CONTROL.search(text)]
        if not _EMAIL.fullmatch(self.email):
            faults.append(("/email", "must be an email address, such as ada@example.com"))
        if address.country.upper() not in COUNTRIES:
            faults.append(("/shipping_address/country", "must be a country code of ISO 3166-1 alpha-2, such as GB"))
        if self.expected_total is not None and not is_currency(self.expected_total.currency):
            faults.append(("/expected_total/currency", BAD_CURRENCY))
        return faults

    def fingerprint(self, digest: Callable[[bytes], str]) -> str:
        """A digest of the decoded body: formatting and member order do not change it."""
        return digest(msgspec.json.encode(self))

    def address(self) -> Address:
        """The address as the order stores it."""
        given = self.shipping_address
        return Address(
            name=given.name,
            line1=given.line1,
            line2=given.line2 or None,
            city=given.city,
            postcode=given.postcode,
            country=given.country.upper(),
        )


# Of a checkout with the longest values, all of them escaped. A longer one is not looked into before it is admitted.
LONGEST_BODY: Final = 20 * 1024


class _CartOnly(msgspec.Struct, gc=False):
    cart_id: str


_decode_cart_only: Final = msgspec.json.Decoder(_CartOnly).decode


def cart_id_of(body: bytes) -> CartId | None:
    """The cart of an undecoded body, None if it has none. Costs some microseconds, for use before a checkout is admitted."""
    if len(body) > LONGEST_BODY:
        return None
    try:
        return parse_cart_id(_decode_cart_only(body).cart_id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

"""The webhooks of Stripe: their signature, and the events that say something about an order's payment.

Source: docs.stripe.com/webhooks/signature. The signature is the HMAC-SHA256 of `timestamp.body` in hexadecimal; the header
has one `v1` for each secret that is valid.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from cart.errors import InvalidBody
from cart.model import OrderId
from checkout.errors import WebhookNotSigned
from checkout.facts import PaymentFact
from checkout.payments.webhook_ids import is_fact_id
from checkout.ports.payments import PaymentNotice

SIGNATURE_HEADER: Final = "stripe-signature"
# Stripe's own libraries allow as much.
TOLERANCE_S: Final = 300
_MAX_SIGNATURES: Final = 16
_MAX_TIMESTAMP_DIGITS: Final = 12


class _Object(msgspec.Struct):
    """A PaymentIntent or a Charge."""

    id: str
    payment_intent: str | None = None
    metadata: dict[str, str] = {}
    amount: int = 0
    amount_capturable: int = 0
    amount_received: int = 0
    amount_refunded: int = 0
    cancellation_reason: str | None = None


class _Data(msgspec.Struct):
    object: _Object


class _Event(msgspec.Struct):
    id: str
    type: str
    created: int
    data: _Data


class _AnyEvent(msgspec.Struct):
    id: str
    type: str


_Became = Literal["authorised", "captured", "voided", "refunded", "declined", "expired"]
_TYPES: Final[Mapping[str, tuple[_Became, str]]] = {
    "payment_intent.amount_capturable_updated": ("authorised", "amount_capturable"),
    "payment_intent.succeeded": ("captured", "amount_received"),
    "payment_intent.canceled": ("voided", "amount"),
    "payment_intent.payment_failed": ("declined", "amount"),
    "charge.refunded": ("refunded", "amount_refunded"),
}
_decode_any: Final = msgspec.json.Decoder(_AnyEvent).decode
_decode_event: Final = msgspec.json.Decoder(_Event).decode


class StripeWebhooks:
    """`PaymentWebhooks` of Stripe, signed with any of `secrets` (`whsec_…`). `clock` gives Unix seconds."""

    def __init__(self, *secrets: str, clock: Callable[[], float] = time.time) -> None:
        if not secrets:
            raise ValueError("no webhook secret is given")
        self._keys = [secret.encode() for secret in secrets]
        self._clock = clock

    def read(self, headers: Mapping[str, str], body: bytes) -> PaymentNotice | None:
        """See `PaymentWebhooks.read`. The id of the event is that of the fact, so a replay changes nothing."""
        self._verify(headers.get(SIGNATURE_HEADER), body)
        try:
            if _decode_any(body).type not in _TYPES:
                return None
            event = _decode_event(body)
        except msgspec.DecodeError as error:
            raise InvalidBody([("", "it is not an event of Stripe")]) from error
        content = event.data.object
        order_id = content.metadata.get("order_id")
        if order_id is None or "claim" in content.metadata or not is_fact_id(event.id):
            return None  # a payment that was not made here
        became, member = _TYPES[event.type]
        if content.cancellation_reason == "automatic":
            became = "expired"
        fact = PaymentFact(
            id=f"payment:{event.id}",
            at=event.created * 1000,
            became=became,
            amount=getattr(content, member),
            reference=content.payment_intent or content.id,
        )
        return PaymentNotice(OrderId(order_id), fact)

    def _verify(self, header: str | None, body: bytes) -> None:
        timestamp, signatures = _fields(header or "")
        if abs(self._clock() - timestamp) > TOLERANCE_S:
            raise WebhookNotSigned("the timestamp is too old or too new")
        signed = f"{timestamp}.".encode() + body
        for key in self._keys:
            expected = hmac.digest(key, signed, "sha256").hex()
            if any(hmac.compare_digest(expected.encode(), signature) for signature in signatures):
                return
        raise WebhookNotSigned("no signature matches")


def _fields(header: str) -> tuple[int, list[bytes]]:
    """The timestamp and the signatures of version 1 in `t=…,v1=…,v1=…`."""
    timestamp, signatures = None, []
    for field in header.split(",")[: 2 * _MAX_SIGNATURES]:
        name, _, value = field.partition("=")
        if name == "t" and value.isascii() and value.isdigit() and len(value) <= _MAX_TIMESTAMP_DIGITS:
            timestamp = int(value)
        elif name == "v1":
            signatures.append(value.encode("utf-8", "surrogateescape"))
    if timestamp is None or not signatures:
        raise WebhookNotSigned("the signature is missing or not readable")
    return timestamp, signatures[:_MAX_SIGNATURES]

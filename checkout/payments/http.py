"""A shop's own payment service behind a small HTTP contract, and its webhooks; `docs/payments.md` is the contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from cart.errors import InvalidBody
from cart.model import DAY_MS, OrderId
from checkout.cards.masking import mask
from checkout.errors import Declined, WebhookNotSigned
from checkout.facts import PaymentFact
from checkout.order import Order
from checkout.payments.payment import Payment
from checkout.payments.transport import Reply, Transport
from checkout.payments.webhook_ids import is_fact_id
from checkout.ports.payments import (
    AuthorisationExpired,
    PaymentFailed,
    PaymentNotice,
    PaymentNotRun,
    PaymentUnknown,
)
from primitives.webhook_signature import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    InvalidWebhookSignature,
    WebhookSigner,
)

_EXPIRED: Final = "authorisation_expired"
MAX_DETAIL: Final = 200


class _Refund(msgspec.Struct):
    id: str
    amount: int


class _PaymentBody(msgspec.Struct):
    """A payment as the service describes it."""

    reference: str = ""
    authorised: int = 0
    authorised_until: datetime | None = None
    captured: int = 0
    refunded: int = 0
    voided: bool = False
    authorisations: int = 1
    refunds: list[_Refund] = []

    def to_payment(self) -> Payment:
        return Payment(
            reference=self.reference,
            authorised=self.authorised,
            authorised_until=None if self.authorised_until is None else _unix_ms(self.authorised_until),
            captured=self.captured,
            refunded=self.refunded,
            voided=self.voided,
            authorisations=self.authorisations,
            refund_ids=tuple(refund.id for refund in self.refunds),
        )


class _Problem(msgspec.Struct):
    code: str = "declined"
    detail: str = "the payment was declined"


class _WebhookBody(msgspec.Struct):
    type: str
    order_id: str
    at: datetime
    amount: int | None = None
    reference: str | None = None


_decode_payment: Final = msgspec.json.Decoder(_PaymentBody).decode
_decode_problem: Final = msgspec.json.Decoder(_Problem).decode
_decode_webhook: Final = msgspec.json.Decoder(_WebhookBody).decode


class HttpPayments:
    """A `PaymentProvider` that calls the shop's service; its requests are signed as Standard Webhooks are."""

    key_life_s: float = DAY_MS / 1000
    look_up_lag_s: float = 0.0

    def __init__(self, transport: Transport, signer: WebhookSigner) -> None:
        self._transport = transport
        self._signer = signer

    async def authorise(self, order: Order, *, number: int, key: str) -> Payment:
        """See `PaymentProvider.authorise`."""
        content = {
            "order_number": order.number,
            "authorisation": number,
            "amount": order.total,
            "currency": order.currency,
            "token": order.payment_token,
        }
        return await self._post(order, "authorise", content, key)

    async def capture(self, order: Order, payment: Payment, *, key: str) -> Payment:
        """See `PaymentProvider.capture`."""
        content = {"reference": payment.reference, "amount": payment.authorised, "currency": order.currency}
        return await self._post(order, "capture", content, key)

    async def void(self, order: Order, payment: Payment, *, key: str) -> Payment:
        """See `PaymentProvider.void`."""
        return await self._post(order, "void", {"reference": payment.reference}, key)

    async def close(self, order: Order, *, key: str) -> Payment | None:
        """See `PaymentProvider.close`. The service voids the payment that it has, and refuses later authorisations of the order."""
        return await self._post(order, "void", {}, key)

    async def refund(self, order: Order, payment: Payment, amount: int, *, refund_id: str, key: str) -> Payment:
        """See `PaymentProvider.refund`."""
        content = {
            "reference": payment.reference,
            "refund_id": refund_id,
            "amount": amount,
            "currency": order.currency,
        }
        return await self._post(order, "refund", content, key)

    async def look_up(self, order: Order, reference: str | None) -> Payment | None:  # noqa: ARG002 - one payment an order
        """See `PaymentProvider.look_up`."""
        headers = self._signer.headers(f"{order.id}:look-up", b"")
        reply = await self._transport.send("GET", _path(order), headers)
        if reply.status == 404:
            return None
        return _payment_of(reply)

    async def _post(self, order: Order, operation: str, content: dict[str, Any], key: str) -> Payment:
        # The signature covers the body: with the order and the operation in it, no request can be passed off as another.
        body = msgspec.json.encode({"operation": operation, "order_id": order.id, **content})
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            **self._signer.headers(key, body),
        }
        return _payment_of(await self._transport.send("POST", f"{_path(order)}/{operation}", headers, body))


def _path(order: Order) -> str:
    return f"/payments/{quote(order.id, safe='')}"


def _payment_of(reply: Reply) -> Payment:
    """The payment in a response. Raises the errors of `PaymentProvider`."""
    if reply.status == 200:
        try:
            return _decode_payment(reply.body).to_payment()
        except msgspec.DecodeError as error:
            raise PaymentUnknown("the response of the payment service is not readable") from error
    if reply.status in {402, 422}:
        problem = _problem_of(reply)
        # It goes into the order's history, which the shopper reads; a service of a shop may repeat anything in it.
        detail = mask(problem.detail)[:MAX_DETAIL]
        raise AuthorisationExpired(detail) if problem.code == _EXPIRED else Declined(detail)
    if reply.status == 409:
        raise PaymentUnknown("a call with this key is still running")
    if reply.status >= 500 and reply.status != 503:
        is_replay = reply.headers.get("idempotent-replayed") == "true"
        raise PaymentFailed(f"the payment service failed with {reply.status}", is_replay=is_replay)
    # 503 and 429: rejected before it began. 401, 404 and the like: the contract, the address or the secret is wrong.
    raise PaymentNotRun(f"the payment service rejected a call with {reply.status}")


def _problem_of(reply: Reply) -> _Problem:
    try:
        return _decode_problem(reply.body)
    except msgspec.DecodeError:
        return _Problem()


_Became = Literal["authorised", "captured", "voided", "refunded", "declined", "expired"]
_TYPES: Final[Mapping[str, _Became]] = {
    "payment.authorised": "authorised",
    "payment.captured": "captured",
    "payment.voided": "voided",
    "payment.refunded": "refunded",
    "payment.declined": "declined",
    "payment.expired": "expired",
}


class HttpPaymentWebhooks:
    """`PaymentWebhooks` of the contract, signed as Standard Webhooks. Events of other types are of no concern here."""

    def __init__(self, signer: WebhookSigner) -> None:
        self._signer = signer

    def read(self, headers: Mapping[str, str], body: bytes) -> PaymentNotice | None:
        """See `PaymentWebhooks.read`. The id of the webhook is that of the fact."""
        try:
            webhook_id = self._signer.verify_fields(
                headers.get(ID_HEADER), headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER), body
            )
        except InvalidWebhookSignature as error:
            raise WebhookNotSigned(error.reason) from error
        try:
            event = _decode_webhook(body)
        except msgspec.DecodeError as error:
            raise InvalidBody([("", "it is not an event of a payment")]) from error
        became = _TYPES.get(event.type)
        if became is None:
            return None
        if not is_fact_id(webhook_id):
            raise WebhookNotSigned(
                "the id of the webhook is too long, or has other characters than letters, digits and ._:-"
            )
        fact = PaymentFact(
            id=f"payment:{webhook_id}",
            at=_unix_ms(event.at),
            became=became,
            amount=event.amount,
            reference=event.reference,
        )
        return PaymentNotice(OrderId(event.order_id), fact)


def _unix_ms(at: datetime) -> int:
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)

"""Stripe: PaymentIntents with manual capture, a request of Stripe's HTTP API for each operation.

Sources: docs.stripe.com/api (idempotent requests, errors, PaymentIntents, refunds), /payments/place-a-hold-on-a-payment-method
and /search. The official library sends the same requests; the tests compare them.

Stripe's search index is behind its database, by less than a minute as a rule: an order without a reference may not be found
by its id. So `close` does not rely on the search alone. It claims the idempotency key of the
authorisation with a PaymentIntent that is not confirmed and moves no money. Stripe accepts that if the key is unused, and
then an authorisation that arrives later is refused. Otherwise the authorisation has been carried out: repeated with its
key and its parameters, the request returns the stored response, and that payment is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from cart.model import DAY_MS
from checkout.errors import Declined
from checkout.order import Order
from checkout.payments.payment import Payment
from checkout.payments.transport import Reply, Transport
from checkout.ports.payments import AuthorisationExpired, PaymentFailed, PaymentNotRun, PaymentUnknown

T = TypeVar("T")

# Requests and responses are those of this version, not of the account's default version.
API_VERSION: Final = "2026-10-28.endive"
BASE_URL: Final = "https://api.stripe.com"
_INTENTS: Final = "/v1/payment_intents"
_EXPAND: Final = "latest_charge"
# The error of a key that was used with other parameters.
_OTHER_PARAMETERS: Final = "idempotency_error"
# Card networks allow at least as long, unless the response says until when.
_AUTHORISED_MS: Final = 7 * DAY_MS


class _Card(msgspec.Struct):
    capture_before: int | None = None


class _MethodDetails(msgspec.Struct):
    card: _Card | None = None


class _Charge(msgspec.Struct):
    amount_refunded: int = 0
    payment_method_details: _MethodDetails | None = None


class Intent(msgspec.Struct):
    """The members of a PaymentIntent that matter here; its charge is expanded."""

    id: str
    status: str
    created: int = 0
    amount: int = 0
    amount_capturable: int = 0
    amount_received: int = 0
    metadata: dict[str, str] = {}
    latest_charge: _Charge | str | None = None
    cancellation_reason: str | None = None

    @property
    def number(self) -> int:
        """Which authorisation of its order it is, from 1."""
        text = self.metadata.get("authorisation", "1")
        return int(text) if text.isdecimal() else 1

    @property
    def is_cancelled_by_a_person(self) -> bool:
        """Whether it was cancelled, and not because it ran out."""
        return self.status == "canceled" and self.cancellation_reason not in {None, "automatic"}

    def to_payment(self, refund_ids: Iterable[str] = ()) -> Payment:
        """The payment of an intent that was confirmed."""
        charge = self.latest_charge if isinstance(self.latest_charge, _Charge) else None
        is_authorised = self.status in {"requires_capture", "succeeded"}
        # Before the end of its authorisation a voided payment is one that a person has voided, which is not renewed.
        has_an_end = is_authorised or self.is_cancelled_by_a_person
        return Payment(
            reference=self.id,
            authorised=self.amount if is_authorised else 0,
            authorised_until=self._authorised_until(charge) if has_an_end else None,
            captured=self.amount_received,
            refunded=0 if charge is None else charge.amount_refunded,
            voided=self.status == "canceled",
            authorisations=self.number,
            refund_ids=tuple(refund_ids),
        )

    def _authorised_until(self, charge: _Charge | None) -> int:
        details = None if charge is None else charge.payment_method_details
        if details is None or details.card is None or details.card.capture_before is None:
            return self.created * 1000 + _AUTHORISED_MS
        return details.card.capture_before * 1000


class _Found(msgspec.Struct):
    data: list[Intent]


class _Refund(msgspec.Struct):
    id: str
    metadata: dict[str, str] = {}


class _Refunds(msgspec.Struct):
    data: list[_Refund]


class _Error(msgspec.Struct):
    type: str = ""
    code: str = ""
    decline_code: str = ""
    param: str = ""
    payment_intent: Intent | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error


_decode_intent: Final = msgspec.json.Decoder(Intent).decode
_decode_found: Final = msgspec.json.Decoder(_Found).decode
_decode_refunds: Final = msgspec.json.Decoder(_Refunds).decode
_decode_error: Final = msgspec.json.Decoder(_ErrorBody).decode


class _Rejected(Exception):
    """A response with an error that says for good that the call did nothing."""

    def __init__(self, error: _Error) -> None:
        super().__init__(error.code or error.type)
        self.error = error


class StripePayments:
    """A `PaymentProvider` on Stripe; `api_key` is a secret or restricted key.

    A payment token is the id of a PaymentMethod (`pm_…`) or of a ConfirmationToken (`ctoken_…`), made by Stripe's own code in
    the shopper's browser.
    """

    key_life_s: float = DAY_MS / 1000
    look_up_lag_s: float = 60.0

    def __init__(self, transport: Transport, *, api_key: str) -> None:
        self._transport = transport
        self._headers = {"Authorization": f"Bearer {api_key}", "Stripe-Version": API_VERSION}

    async def authorise(self, order: Order, *, number: int, key: str) -> Payment:
        """See `PaymentProvider.authorise`."""
        try:
            intent = await self._post_intent(_INTENTS, confirmed(order, number), key)
        except _Rejected as rejected:
            if rejected.error.type == _OTHER_PARAMETERS:
                raise Declined("the payment of the order was closed") from None
            raise _refusal(rejected.error) from None
        if intent.status == "requires_capture":
            return intent.to_payment()
        if intent.status == "processing":
            raise PaymentUnknown("the payment is being processed")
        raise Declined(f"the payment is {intent.status}")

    async def capture(self, order: Order, payment: Payment, *, key: str) -> Payment:  # noqa: ARG002 - the reference says it
        """See `PaymentProvider.capture`."""
        try:
            intent = await self._post_intent(_path(payment.reference, "/capture"), {"expand[]": _EXPAND}, key)
        except _Rejected as rejected:
            latest = rejected.error.payment_intent
            if latest is not None and latest.status == "succeeded":
                return _merged(payment, latest)
            if latest is not None and latest.is_cancelled_by_a_person:
                raise Declined("the payment was cancelled at the payment service") from None
            has_ended = latest is not None and latest.status == "canceled"
            if has_ended or rejected.error.code == "charge_expired_for_capture":
                raise AuthorisationExpired("the authorisation ran out") from None
            raise _refusal(rejected.error) from None
        return _merged(payment, intent)

    async def void(self, order: Order, payment: Payment, *, key: str) -> Payment:  # noqa: ARG002 - the reference says it
        """See `PaymentProvider.void`."""
        try:
            intent = await self._post_intent(_path(payment.reference, "/cancel"), {"expand[]": _EXPAND}, key)
        except _Rejected as rejected:
            latest = rejected.error.payment_intent
            if latest is None:
                raise PaymentUnknown(f"the payment was not cancelled: {rejected}") from None
            return _merged(payment, latest)  # it is cancelled or captured
        return _merged(payment, intent)

    async def close(self, order: Order, *, key: str) -> Payment | None:
        """See `PaymentProvider.close`. It takes the key of the first authorisation, not `key`."""
        key = f"{order.id}:authorise-1"
        try:
            await self._post(_INTENTS, _claim(order), key)
        except _Rejected as rejected:
            if rejected.error.type != _OTHER_PARAMETERS:
                raise _refusal(rejected.error) from None
        else:
            return None
        try:
            return await self.authorise(order, number=1, key=key)  # a replay: the key is used
        except Declined:
            return None

    async def refund(self, order: Order, payment: Payment, amount: int, *, refund_id: str, key: str) -> Payment:
        """See `PaymentProvider.refund`."""
        form = {
            "payment_intent": payment.reference,
            "amount": str(amount),
            "metadata[order_id]": order.id,
            "metadata[refund_id]": refund_id,
        }
        try:
            await self._post("/v1/refunds", form, key)
        except _Rejected as rejected:
            raise _refusal(rejected.error) from None
        return msgspec.structs.replace(
            payment, refunded=payment.refunded + amount, refund_ids=(*payment.refund_ids, refund_id)
        )

    async def look_up(self, order: Order, reference: str | None) -> Payment | None:
        """See `PaymentProvider.look_up`. By the order's id it finds the last authorisation that holds money."""
        if reference is not None:
            intent = _decoded(_decode_intent, await self._get(_path(reference, f"?expand[]={_EXPAND}")))
        else:
            query = quote(f"metadata['order_id']:'{order.id}'", safe="")
            content = await self._get(f"{_INTENTS}/search?query={query}&expand[]=data.{_EXPAND}")
            found = _decoded(_decode_found, content)
            confirmed_intents = [intent for intent in found.data if not _is_claim(intent)]
            if not confirmed_intents:
                return None
            intent = max(confirmed_intents, key=_rank)
        return intent.to_payment(await self._refund_ids(intent) if intent.amount_received else ())

    async def _refund_ids(self, intent: Intent) -> list[str]:
        listed = await self._get(f"/v1/refunds?payment_intent={quote(intent.id, safe='')}&limit=100")
        return [refund.metadata.get("refund_id", refund.id) for refund in _decoded(_decode_refunds, listed).data]

    # Requests

    async def _post_intent(self, path: str, form: Mapping[str, str], key: str) -> Intent:
        return _decoded(_decode_intent, await self._post(path, form, key))

    async def _post(self, path: str, form: Mapping[str, str], key: str) -> bytes:
        headers = {
            **self._headers,
            "Content-Type": "application/x-www-form-urlencoded",
            "Idempotency-Key": key,
        }
        return _content_of(await self._transport.send("POST", path, headers, urlencode(form).encode()))

    async def _get(self, path: str) -> bytes:
        try:
            return _content_of(await self._transport.send("GET", path, self._headers))
        except _Rejected as rejected:
            raise PaymentUnknown(f"the look-up failed: {rejected}") from None


def confirmed(order: Order, number: int) -> dict[str, str]:
    """The parameters of a PaymentIntent that is authorised at once. A shopper who would have to act is a decline."""
    method = "confirmation_token" if order.payment_token.startswith("ctoken_") else "payment_method"
    return {
        "amount": str(order.total),
        "currency": order.currency.lower(),
        "capture_method": "manual",
        "confirm": "true",
        "error_on_requires_action": "true",
        method: order.payment_token,
        "automatic_payment_methods[enabled]": "true",
        "automatic_payment_methods[allow_redirects]": "never",
        "metadata[order_id]": order.id,
        "metadata[authorisation]": str(number),
        "expand[]": _EXPAND,
    }


def _claim(order: Order) -> dict[str, str]:
    return {
        "amount": str(order.total),
        "currency": order.currency.lower(),
        "capture_method": "manual",
        "metadata[order_id]": order.id,
        "metadata[claim]": "true",
    }


def _is_claim(intent: Intent) -> bool:
    return "claim" in intent.metadata


def _rank(intent: Intent) -> tuple[bool, bool, int]:
    """Money taken comes before money reserved, and that before none; then the latest."""
    return intent.amount_received > 0, intent.status == "requires_capture", intent.number


def _path(reference: str, rest: str) -> str:
    return f"{_INTENTS}/{quote(reference, safe='')}{rest}"


def _merged(payment: Payment, intent: Intent) -> Payment:
    """The payment as the intent is now; other members stay."""
    latest = intent.to_payment(payment.refund_ids)
    return msgspec.structs.replace(
        latest,
        authorised=latest.authorised or payment.authorised,
        authorised_until=latest.authorised_until or payment.authorised_until,
        refunded=max(latest.refunded, payment.refunded),
        authorisations=payment.authorisations,
    )


def _decoded(decode: Callable[[bytes], T], content: bytes) -> T:
    try:
        return decode(content)
    except msgspec.DecodeError as error:
        raise PaymentUnknown("the response of Stripe is not readable") from error


# Of errors of type invalid_request_error that are about the shopper's means of payment.
_TOKEN_PARAMETERS: Final = frozenset({"payment_method", "confirmation_token"})


def _content_of(reply: Reply) -> bytes:
    """The body of a successful response. Raises `_Rejected`, and the errors of `PaymentProvider`."""
    if reply.status == 200:
        return reply.body
    if reply.status == 409:
        raise PaymentUnknown("a request with this key is still running")
    if reply.status >= 500:
        is_replay = reply.headers.get("idempotent-replayed") == "true"
        raise PaymentFailed(f"Stripe failed with {reply.status}", is_replay=is_replay)
    if reply.status in {401, 403, 429}:
        raise PaymentNotRun(f"Stripe rejected a request with {reply.status}")
    try:
        error = _decode_error(reply.body).error
    except msgspec.DecodeError as fault:
        raise PaymentUnknown(f"Stripe's response with {reply.status} is not readable") from fault
    raise _Rejected(error)


def _refusal(error: _Error) -> Exception:
    """`Declined` for a fault of the payment, `PaymentNotRun` for a fault of our request."""
    if error.type == "card_error" or error.param.partition("[")[0] in _TOKEN_PARAMETERS:
        return Declined(f"the payment was declined: {error.decline_code or error.code or 'no reason given'}")
    if error.code in {"charge_already_refunded", "charge_disputed", "payment_intent_unexpected_state"}:
        return Declined(f"the payment service refused: {error.code}")
    return PaymentNotRun(f"Stripe refused a request: {error.code or error.type}")

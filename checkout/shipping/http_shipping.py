"""Shipping by a service over HTTP: a shop's own fulfilment service, or a gateway to carriers.

`docs/shipping.md` is the contract of the service. Requests are signed as Standard Webhooks are; the only personal data in
them is the address, and nothing of it, nor of a response that may repeat it, is logged or put into the order's history.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import aiohttp
import msgspec
from msgspec import Meta
from yarl import URL

from cart.model import OrderId
from cart.timestamps import rfc3339, unix_ms
from checkout.errors import Declined, ServiceNotReached, ServiceUnavailable
from checkout.order import Order
from checkout.shipping.shipment import Shipment
from primitives.bounded_map import BoundedMap
from primitives.tracing.spans import CLIENT, Value, outgoing_context, span
from primitives.webhook_signature import WebhookSigner

# A call ends before the deadline of `checkout.guarded`; if a booking is looked up first, the two share its time.
CALL_S: Final = 3.7
_LOOK_UP_SHARE: Final = 1 / 3
# An order that has been in its status for longer may have been booked before, by a worker that is gone.
FIRST_RUN_MS: Final = 1_000
MAX_BODY: Final = 64 * 1024
_MAX_REMEMBERED: Final = 10_000
_WEB: Final = ("https://", "http://")

_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class _Booking(msgspec.Struct):
    """A shipment in a response."""

    reference: _Name
    carrier: _Name
    status: Literal["booked", "cancelled"] = "booked"
    tracking_number: _Name | None = None
    tracking_url: Annotated[str, Meta(max_length=2000)] | None = None

    def shipment(self) -> Shipment:
        """The shipment as the order records it. Raises `Declined` if it was cancelled."""
        if self.status == "cancelled":
            raise Declined("the shipment was cancelled")
        url = self.tracking_url
        # The shopper's browser follows it.
        is_web = url is not None and url.lower().startswith(_WEB)
        return Shipment(self.reference, self.carrier, self.tracking_number, url if is_web else None)


class _Refusal(msgspec.Struct):
    """Why a shipment is refused, in one word: a sentence might repeat the address."""

    reason: Annotated[str, Meta(pattern=r"^[a-z][a-z_]{0,39}$")] = "refused"


_decode_booking: Final = msgspec.json.Decoder(_Booking).decode
_decode_refusal: Final = msgspec.json.Decoder(_Refusal).decode


class HttpShipping:
    """`Shipping` of the service at `base_url`; the session belongs to the caller.

    A booking whose outcome is not known is looked up by the order's id before it is asked for again: by this process, or
    after a crash by another, because the order has been in its status for more than `FIRST_RUN_MS` then. So it holds also
    when the service has forgotten the idempotency key. An ordinary order is not looked up.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        signer: WebhookSigner,
        *,
        clock_ms: Callable[[], int] = unix_ms,
        call_s: float = CALL_S,
    ) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._signer = signer
        self._clock_ms = clock_ms
        self._deadline = aiohttp.ClientTimeout(total=call_s)
        self._look_up_deadline = aiohttp.ClientTimeout(total=call_s * _LOOK_UP_SHARE)
        self._deadline_after_look_up = aiohttp.ClientTimeout(total=call_s * (1 - _LOOK_UP_SHARE))
        self._unresolved: BoundedMap[OrderId, bool] = BoundedMap(_MAX_REMEMBERED)

    async def arrange(self, order: Order) -> Shipment:
        """See `Shipping.arrange`."""
        deadline = self._deadline
        if self._may_be_booked(order):
            if (booked := await self._look_up(order)) is not None:
                self._unresolved.discard(order.id)
                return booked.shipment()
            deadline = self._deadline_after_look_up
        # Before the call: a call that is cancelled by its deadline may have taken effect too.
        self._unresolved.put(order.id, True)
        request = _booking_request(order)
        status, body = await self._send("POST", "/shipments", f"{order.id}:arrange", request, deadline)
        if status not in {200, 201}:
            raise _failure("booking a shipment", status, body)
        shipment = _decoded(body).shipment()
        self._unresolved.discard(order.id)
        return shipment

    async def cancel(self, order: Order) -> None:
        """See `Shipping.cancel`. The service remembers the cancellation, also of an order that it has not booked."""
        request = msgspec.json.encode({"operation": "cancel", "order_id": order.id})
        status, body = await self._send(
            "POST", f"/shipments/{order.id}/cancel", f"{order.id}:cancel", request, self._deadline
        )
        if status not in {200, 204}:
            raise _failure("cancelling a shipment", status, body)

    def _may_be_booked(self, order: Order) -> bool:
        if self._unresolved.get(order.id) is not None:
            return True
        entered_at = next(entry.at for entry in order.history if entry.status is order.status)
        return self._clock_ms() - entered_at >= FIRST_RUN_MS

    async def _look_up(self, order: Order) -> _Booking | None:
        """The order's booking, None if there is none."""
        try:
            message_id = f"{order.id}:{secrets.token_hex(8)}"
            status, body = await self._send("GET", f"/shipments/{order.id}", message_id, b"", self._look_up_deadline)
            if status == 404:
                return None
            if status != 200:
                raise _failure("looking a shipment up", status, body)
            return _decoded(body)
        except ServiceUnavailable as error:
            # A look-up changes nothing, so the order may wait for it.
            raise ServiceNotReached(str(error)) from error

    async def _send(
        self, method: str, path: str, message_id: str, body: bytes, deadline: aiohttp.ClientTimeout
    ) -> tuple[int, bytes]:
        """Status and body of the response. Raises `ServiceUnavailable`, and `ServiceNotReached` if it was not sent."""
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **self._signer.headers(message_id, body),
        }
        if method != "GET":
            headers |= {"Content-Type": "application/json", "Idempotency-Key": message_id}
        attributes: dict[str, Value] = {"http.request.method": method, "server.address": URL(self._base_url).host or ""}
        try:
            with span(f"{method} shipping", CLIENT, attributes) as call:
                status, content = await self._exchange(method, path, {**headers, **outgoing_context()}, body, deadline)
                call.set("http.response.status_code", status)
                return status, content
        # Not the text of an error: it may contain the address of the service with its credentials.
        except aiohttp.ClientConnectorError as error:
            raise ServiceNotReached(f"the shipping service was not reached: {type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServiceUnavailable(f"no response of the shipping service: {type(error).__name__}") from error

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, deadline: aiohttp.ClientTimeout
    ) -> tuple[int, bytes]:
        # A redirect would carry the address of the shopper elsewhere. The path is encoded already.
        async with self._session.request(
            method,
            URL(self._base_url + path, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            timeout=deadline,
        ) as response:
            return response.status, await _body_of(response)


async def _body_of(response: aiohttp.ClientResponse) -> bytes:
    """The body, or the first `MAX_BODY` bytes of a longer one, which is no answer to any request."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= MAX_BODY:
            break
    return bytes(body[:MAX_BODY])


def _decoded(body: bytes) -> _Booking:
    try:
        return _decode_booking(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ServiceUnavailable("the response of the shipping service is not a shipment") from error


def _failure(what: str, status: int, body: bytes) -> Exception:
    """A refusal for good, a rejection of all calls, or a failure of the service. Its text is none of the response's, which may repeat the address."""
    if status != 422:
        # 503 and 429: rejected before it began. Other 4xx: the address or the key in our settings is wrong, for every order.
        is_rejected = status == 503 or 400 <= status < 500
        error = ServiceNotReached if is_rejected else ServiceUnavailable
        return error(f"{what}: the shipping service responded with status {status}")
    try:
        reason = _decode_refusal(body).reason
    except (msgspec.DecodeError, UnicodeDecodeError):
        reason = "refused"
    return Declined(f"{what} was refused: {reason.replace('_', ' ')}")


def _booking_request(order: Order) -> bytes:
    """The same bytes for each attempt, so that a service can compare them with those of the first.

    Order and operation are in the body, because the signature does not cover the path.
    """
    request: dict[str, Any] = {
        "operation": "arrange",
        "order_id": order.id,
        "number": order.number,
        "accepted_at": rfc3339(order.created_at),
        "shipping_method": order.shipping_method,
        "address": order.shipping_address,
        "lines": [{"sku": line.sku, "name": line.name, "quantity": line.quantity} for line in order.lines],
        "value": {"amount": order.amounts.goods, "currency": order.currency},
    }
    return msgspec.json.encode(request)

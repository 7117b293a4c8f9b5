"""The routes of the Agentic Commerce Protocol: its header fields, status codes and errors.

Errors have the form of the protocol. Only rejections before the handler (rate limits, shedding, card numbers) are problems as
everywhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from multidict import istr

from cart import errors as cart
from checkout import errors as checkout
from checkout.agents.bodies import CompleteSession, CreateSession, UpdateSession
from checkout.agents.errors import SessionChanged, SessionClosed, SessionNotFound, SessionRefused
from checkout.agents.handlers import AgentHandlers, Call, Result
from checkout.agents.responses import VERSION, SessionView
from gateway.api.binding import Route
from gateway.http.log_text import log_text
from gateway.http.message import Request, Response, header

PREFIX: Final = "/v1/acp"
SESSIONS: Final = f"{PREFIX}/checkout_sessions"
RETRY_AFTER_S: Final = 1

_T = TypeVar("_T")
_KEY: Final = istr("Idempotency-Key")
_VERSION: Final = istr("API-Version")
_REQUEST_ID: Final = istr("Request-Id")
_AUTHORIZATION: Final = istr("Authorization")


class Fault(Exception):
    """A response of the protocol's `Error`: its status, code, message, and the JSONPath of the faulty member."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None, retry: bool = False) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry = retry

    def response(self) -> Response:
        """The response."""
        error = {"type": "invalid_request", "code": self.code, "message": self.message}
        if self.param is not None:
            error["param"] = self.param
        fields = header("Retry-After", RETRY_AFTER_S) if self.retry else b""
        return Response(self.status, msgspec.json.encode(error), header_block=fields)


def agent_routes(agents: AgentHandlers) -> Sequence[Route]:
    """The five calls of the protocol."""
    session = SESSIONS + "/{checkout_session_id}"

    def route(
        method: str,
        path: str,
        summary: str,
        call: Callable[[Request], Awaitable[Result | SessionView]],
        status: int = 200,
    ) -> Route:
        return Route(
            method=method,
            path=path,
            call=_spoken(call, status),
            summary=summary,
            tag="agents",
            hot=False,
            criticality="agent",
            caller="agent",
        )

    return (
        route(
            "POST",
            SESSIONS,
            "Create a checkout session",
            lambda request: agents.create(_call(request), _decoded(request, CreateSession)),
            201,
        ),
        route(
            "GET",
            session,
            "Retrieve a checkout session",
            lambda request: agents.read(request.params[0], request.api_key or ""),
        ),
        route(
            "POST",
            session,
            "Update a checkout session",
            lambda request: agents.update(request.params[0], _call(request), _decoded(request, UpdateSession)),
        ),
        route(
            "POST",
            session + "/complete",
            "Complete a checkout session",
            lambda request: agents.complete(request.params[0], _call(request), _decoded(request, CompleteSession)),
        ),
        route(
            "POST",
            session + "/cancel",
            "Cancel a checkout session",
            lambda request: _canceled(agents, request),
        ),
    )


async def _canceled(agents: AgentHandlers, request: Request) -> Result:
    try:
        return await agents.cancel(request.params[0], _call(request))
    except SessionClosed:
        raise Fault(405, "not_cancelable", "The session is completed or canceled.") from None


def _spoken(
    call: Callable[[Request], Awaitable[Result | SessionView]], status: int
) -> Callable[[Request, Any], Awaitable[Response]]:
    """The call with the protocol's version, errors and header fields."""

    async def speak(request: Request, _body: Any) -> Response:
        echoed = _echoes(request)
        try:
            _require_version(request)
            result = await call(request)
        except Fault as fault:
            response = fault.response()
        except (cart.Refusal, SessionRefused) as refusal:
            response = _fault_of(refusal).response()
        else:
            view, replayed = (result, False) if isinstance(result, SessionView) else result
            if replayed:
                echoed += header("Idempotent-Replayed", "true")
            response = Response(status, view.to_json())
        return response.with_header_block(response.header_block + echoed)

    return speak


def _require_version(request: Request) -> None:
    version = request.headers.get(_VERSION, VERSION)
    if version != VERSION:
        raise Fault(400, "unsupported_api_version", f"This shop speaks API-Version {VERSION}.")


def _echoes(request: Request) -> bytes:
    """The fields that the protocol wants back; values that cannot stand in a header field are left out."""
    fields = b""
    for name in (_KEY, _REQUEST_ID):
        value = request.headers.get(name)
        if value is not None and len(value) <= 255 and value.isascii() and value.isprintable():
            fields += header(name, value)
    return fields


def _call(request: Request) -> Call:
    bearer = request.headers.get(_AUTHORIZATION, "").partition(" ")[2].strip()
    return Call(
        request.api_key or "", hashlib.sha256(bearer.encode()).hexdigest(), request.headers.get(_KEY), request.body
    )


def _decoded(request: Request, body_type: type[_T]) -> _T:
    try:
        return msgspec.json.decode(request.body or b"{}", type=body_type)
    except msgspec.ValidationError as invalid:
        message, _, at = str(invalid).partition(" - at `")
        raise Fault(400, "invalid", message, param=at.rstrip("`") or "$") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        raise Fault(400, "malformed_json", log_text(str(malformed))) from None


# By the type of the refusal: status, code and message.
_FAULTS: Final[dict[type[Exception], tuple[int, str, str]]] = {
    SessionNotFound: (404, "not_found", "There is no such session, or it has expired."),
    SessionClosed: (409, "session_closed", "The session is completed or canceled."),
    SessionChanged: (409, "idempotency_in_flight", "Another call is changing the session."),
    cart.IdempotencyKeyReused: (422, "idempotency_conflict", "The Idempotency-Key was used with a different body."),
    checkout.IdempotencyKeyInProgress: (409, "idempotency_in_flight", "A call with this key is being processed."),
    cart.CartClosed: (409, "session_closed", "The session is completed."),
    cart.CartNotFound: (409, "session_closed", "The session is canceled."),
    checkout.CartEmpty: (422, "missing", "The session has no line items."),
    checkout.OutOfStock: (409, "out_of_stock", "Some items are out of stock; retrieve the session."),
    checkout.ShopperLimit: (409, "quantity_exceeded", "Some quantities are above the shop's limit for one shopper."),
    checkout.PriceChanged: (409, "price_changed", "The total has changed; update the session to see it."),
    checkout.TotalMismatch: (409, "price_changed", "The total has changed; update the session to see it."),
    cart.CouponRefused: (
        409,
        "price_changed",
        "The coupon of the session does not count any more; retrieve the session.",
    ),
    checkout.ShippingNotOffered: (
        422,
        "invalid",
        "The fulfillment option is not offered for these items and this address.",
    ),
    cart.QuantityLimit: (422, "quantity_exceeded", "A quantity is above the shop's limit."),
    cart.CartFull: (422, "maximum_exceeded", "The session has more line items than the shop allows."),
    cart.ProductNotFound: (422, "not_found", "The shop does not have one of the items."),
}


def _fault_of(refusal: cart.Refusal | SessionRefused) -> Fault:
    if isinstance(refusal, cart.IdempotencyKeyMissing):
        return Fault(400, "idempotency_key_required", "The Idempotency-Key header is required, up to 255 characters.")
    if isinstance(refusal, cart.InvalidBody):
        pointer, detail = refusal.errors[0]
        path = _PATHS.get(pointer, pointer)
        return Fault(400, "invalid", f"{detail[:1].upper()}{detail[1:]}.", param="$" + path.replace("/", "."))
    for kind, (status, code, message) in _FAULTS.items():
        if isinstance(refusal, kind):
            return Fault(status, code, message, retry=code == "idempotency_in_flight")
    raise refusal


# Members that have another place in the shop's checkout.
_PATHS: Final = {
    "/email": "/buyer/email",
    "/payment/token": "/payment_data/instrument/credential/token",
    "/shipping_address/name": "/fulfillment_details/address/name",
    "/shipping_address/line1": "/fulfillment_details/address/line_one",
    "/shipping_address/line2": "/fulfillment_details/address/line_two",
    "/shipping_address/city": "/fulfillment_details/address/city",
    "/shipping_address/postcode": "/fulfillment_details/address/postal_code",
    "/shipping_address/country": "/fulfillment_details/address/country",
}

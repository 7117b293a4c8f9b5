"""The one page of problems: which refusal has which slug, status and wording (RFC 9457).

`type` is `/problems/<slug>` and `instance` the request id; other members are facts of the refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import orjson

from cart import errors as cart
from cart.catalog.ports import SearchUnavailable
from checkout import errors as checkout
from gateway.http.message import PROBLEM_JSON, BodyMalformed, BodyTooLarge, BodyTooSlow, Response, header
from store import StoreOverloaded, StoreUnavailable

Members = Mapping[str, Any]
RETRY_AFTER_S: Final = 1


def _no_members(_error: object) -> Members:
    return {}


class Problem:
    """A row of the page. Its constant parts are encoded once."""

    __slots__ = (
        "detail",
        "header_lines",
        "members",
        "opening",
        "opening_json",
        "retry_after_s",
        "slug",
        "status",
        "title",
    )

    def __init__(  # noqa: PLR0917 - a row of the page reads as a line
        self,
        slug: str,
        status: int,
        title: str,
        members: Callable[[Any], Members] = _no_members,
        retry_after_s: int | None = None,
        detail: str | None = None,
    ) -> None:
        self.slug = slug
        self.status = status
        self.title = title
        # The facts of an error that become members of the response; `detail` among them replaces the title's own.
        self.members = members
        self.retry_after_s = retry_after_s
        # A sentence more than the title.
        self.detail = detail
        # The members that every response of this row begins with.
        self.opening: dict[str, Any] = {
            "type": f"/problems/{slug}",
            "title": title,
            "status": status,
            "detail": detail or title + ".",
        }
        # The same in JSON, without the closing brace: a rejection without facts costs no encoding.
        self.opening_json = orjson.dumps(self.opening)[:-1]
        # The header lines of every response of this row.
        self.header_lines = b"" if retry_after_s is None else header("Retry-After", retry_after_s)


def _limit(error: cart.CartFull | cart.QuantityLimit) -> Members:
    return {"limit": error.limit}


def _closed(error: cart.CartClosed) -> Members:
    if error.order_id is None:
        return {"detail": "The cart was merged into another one."}
    return {"detail": "The cart has been ordered.", "order_id": error.order_id}


def _invalid(error: cart.InvalidBody) -> Members:
    return {"errors": [{"pointer": pointer, "detail": detail} for pointer, detail in error.errors]}


def _unavailable(detail: str) -> Problem:
    title = "Something that is needed for this does not answer"
    return Problem("dependency-unavailable", 503, title, retry_after_s=RETRY_AFTER_S, detail=detail)


MALFORMED_REQUEST: Final = Problem("malformed-request", 400, "The request is not HTTP as it should be")
BODY_TOO_LARGE: Final = Problem("body-too-large", 413, "The body is too large")
REQUEST_TIMEOUT: Final = Problem("request-timeout", 408, "The request did not arrive in time")

REFUSALS: Final[dict[type[BaseException], Problem]] = {
    cart.InvalidBody: Problem("invalid-body", 422, "The request breaks a rule", _invalid),
    cart.CartNotFound: Problem("cart-not-found", 404, "There is no such cart"),
    cart.LineNotFound: Problem("line-not-found", 404, "The cart has no such line", lambda e: {"sku": e.sku}),
    cart.ProductNotFound: Problem("product-not-found", 404, "There is no such product", lambda e: {"sku": e.sku}),
    cart.CartFull: Problem("cart-full", 422, "The cart would have too many lines", _limit),
    cart.QuantityLimit: Problem("quantity-limit", 422, "The quantity of a line would be too large", _limit),
    cart.VersionMismatch: Problem(
        "version-mismatch", 412, "The cart has changed", lambda e: {"current_version": e.current_version}
    ),
    cart.CartClosed: Problem("cart-closed", 409, "The cart cannot be changed any more", _closed),
    checkout.OrderNotFound: Problem("order-not-found", 404, "There is no such order"),
    checkout.CartEmpty: Problem("cart-empty", 422, "The cart is empty"),
    checkout.IdempotencyKeyMissing: Problem(
        "idempotency-key-missing", 400, "An Idempotency-Key is needed", lambda e: {"detail": e.detail}
    ),
    checkout.IdempotencyKeyReused: Problem(
        "idempotency-key-reused", 422, "The Idempotency-Key has come with another body before"
    ),
    checkout.IdempotencyKeyInProgress: Problem(
        "idempotency-key-in-progress", 409, "A checkout of this cart is still running", retry_after_s=RETRY_AFTER_S
    ),
    checkout.PriceChanged: Problem(
        "price-changed",
        409,
        "Prices have changed since the cart was filled",
        lambda e: {
            "detail": "Show the new prices and send the new total as expected_total to accept them.",
            "lines": e.lines,
            "total": e.total,
        },
    ),
    checkout.OutOfStock: Problem("out-of-stock", 409, "Some lines are out of stock", lambda e: {"lines": e.lines}),
    checkout.TotalMismatch: Problem(
        "total-mismatch", 409, "The total is not the expected one", lambda e: {"total": e.total}
    ),
    checkout.CardDataRefused: Problem(
        "card-data-refused", 422, "Card numbers are never accepted; send the token of the payment provider"
    ),
    checkout.OrderNotDurable: _unavailable("The order could not be kept safely in time; nothing was ordered."),
    checkout.CancelTooLate: Problem(
        "too-late-to-cancel", 409, "The order cannot be cancelled any more", lambda e: {"order_status": e.status}
    ),
    StoreOverloaded: Problem("overloaded", 503, "Too much is going on; try again", retry_after_s=RETRY_AFTER_S),
    StoreUnavailable: _unavailable("The store does not answer."),
    SearchUnavailable: _unavailable("The search does not answer."),
    BodyTooLarge: BODY_TOO_LARGE,
    BodyTooSlow: REQUEST_TIMEOUT,
    BodyMalformed: MALFORMED_REQUEST,
}

NOT_FOUND: Final = Problem("not-found", 404, "There is nothing at this address")
METHOD_NOT_ALLOWED: Final = Problem("method-not-allowed", 405, "This address does not take that method")
MALFORMED_JSON: Final = Problem("malformed-json", 400, "The body is not JSON")
UNSUPPORTED_MEDIA_TYPE: Final = Problem("unsupported-media-type", 415, "The body must be plain application/json")
HEADERS_TOO_LARGE: Final = Problem("headers-too-large", 431, "The header section is too large")
EXPECTATION_FAILED: Final = Problem("expectation-failed", 417, "Only the expectation 100-continue can be met")
AMBIGUOUS: Final = Problem("ambiguous-request", 400, "The request can be read in more than one way")
UNAUTHENTICATED: Final = Problem("unauthenticated", 401, "A valid sign-in is needed")
FORBIDDEN: Final = Problem("forbidden", 403, "This is not allowed from here")
# Retry-After is set by the layer that refuses: it knows how long, and spreads clients over it.
QUOTA_EXCEEDED: Final = Problem("quota-exceeded", 429, "Too many requests")
OVERLOADED: Final = Problem("overloaded", 503, "Too much is going on; try again")
WAITING_ROOM: Final = Problem("waiting-room", 503, "There is a queue; this is your place in it")
SOLD_OUT: Final = Problem("sold-out", 409, "What the queue was for is sold out")
DISABLED: Final = Problem("disabled", 503, "This is switched off for now")
BAD_GATEWAY: Final = Problem(
    "bad-gateway", 502, "Bad gateway", detail="The upstream of this path sent no valid response."
)
GATEWAY_TIMEOUT: Final = Problem(
    "gateway-timeout", 504, "Gateway timeout", detail="The upstream of this path did not respond in time."
)
NOT_IMPLEMENTED: Final = Problem(
    "not-implemented", 501, "Not implemented", detail="Requests of this kind are not forwarded."
)
TIMED_OUT: Final = _unavailable("No answer could be had in time.")
INTERNAL: Final = Problem("internal-error", 500, "Something went wrong inside; it has been logged")

ALL: Final = (
    *REFUSALS.values(),
    *(NOT_FOUND, METHOD_NOT_ALLOWED, MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE, HEADERS_TOO_LARGE),
    *(EXPECTATION_FAILED, TIMED_OUT, INTERNAL),
    *(AMBIGUOUS, UNAUTHENTICATED, FORBIDDEN, QUOTA_EXCEEDED, OVERLOADED, WAITING_ROOM, SOLD_OUT, DISABLED),
    *(BAD_GATEWAY, GATEWAY_TIMEOUT, NOT_IMPLEMENTED),
)


def response(
    problem: Problem, request_id: str, members: Members | None = None, *, header_block: bytes = b""
) -> Response:
    """The answer that a row of the page gives."""
    if members:
        facts = {**problem.opening, "instance": request_id, **members}
        body = orjson.dumps(facts, default=msgspec.structs.asdict)
    else:
        body = b'%b,"instance":"%b"}' % (problem.opening_json, request_id.encode())
    return Response(problem.status, body, header_block=problem.header_lines + header_block, content_type=PROBLEM_JSON)


def of_error(error: BaseException) -> Problem | None:
    """The row of an error or of its nearest ancestor, None for an internal error."""
    for kind in type(error).__mro__:
        if problem := REFUSALS.get(kind):
            return problem
    return None

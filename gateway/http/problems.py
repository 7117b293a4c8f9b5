"""The table of problems (RFC 9457): the slug, status, title and detail of every error response.

`type` is `/problems/<slug>` and `instance` the request id; other members are facts of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import orjson

from cart import errors as cart
from cart.catalog.ports import SearchUnavailable
from checkout import errors as checkout
from checkout.ports.archive import ArchiveUnavailable
from checkout.ports.keys import KeysUnavailable
from gateway.http import full_store
from gateway.http.message import PROBLEM_JSON, BodyMalformed, BodyTooLarge, BodyTooSlow, Response, header
from store import Reason, StoreOverloaded, StoreUnavailable

Members = Mapping[str, Any]
RETRY_AFTER_S: Final = 1
# Long enough for a peak to pass: nobody needs the list.
TRENDING_RETRY_S: Final = 10
# The member of a response to a write that may have taken effect, although it failed.
MAY_HAVE_RUN: Final = "may_have_run"
_READ_FIRST: Final = "The change was not confirmed in time, and may have been made. Read before you repeat it."


def _no_members(_error: object) -> Members:
    return {}


class Problem:
    """A row of the table. Its constant members are encoded once."""

    __slots__ = (
        "detail",
        "header_block",
        "members",
        "opening",
        "opening_json",
        "retry_after_s",
        "slug",
        "status",
        "title",
    )

    def __init__(  # noqa: PLR0917 - a row of the table reads as a line
        self,
        slug: str,
        status: int,
        title: str,
        detail: str,
        members: Callable[[Any], Members] = _no_members,
        retry_after_s: int | None = None,
        fields: bytes = b"",
    ) -> None:
        self.slug = slug
        self.status = status
        self.title = title
        # The event, or the advice to the client.
        self.detail = detail
        # The facts of an error as members of the response; a `detail` among them replaces the one of the row.
        self.members = members
        self.retry_after_s = retry_after_s
        # The constant members, which come first in every response.
        self.opening: dict[str, Any] = {
            "type": f"/problems/{slug}",
            "title": title,
            "status": status,
            "detail": detail,
        }
        # The same in JSON, without the closing brace: a response without facts costs no encoding.
        self.opening_json = orjson.dumps(self.opening)[:-1]
        # The header lines of every response of this row.
        self.header_block = fields if retry_after_s is None else header("Retry-After", retry_after_s) + fields


def _limit(error: cart.CartFull | cart.QuantityLimit) -> Members:
    return {"limit": error.limit}


def _closed(error: cart.CartClosed) -> Members:
    if error.order_id is None:
        return {"detail": "The cart was merged into another one."}
    return {"detail": "The cart has been ordered.", "order_id": error.order_id}


def _invalid(error: cart.InvalidBody) -> Members:
    return {"errors": [{"pointer": pointer, "detail": detail} for pointer, detail in error.errors]}


def _unavailable(detail: str, *, may_have_run: str | None = None) -> Problem:
    """A row whose error may have `may_have_run`: then it is a member of the response, with this text as the detail."""
    members = _no_members if may_have_run is None else _uncertainty(may_have_run)
    return Problem("dependency-unavailable", 503, "Service unavailable", detail, members, retry_after_s=RETRY_AFTER_S)


def _uncertainty(detail: str) -> Callable[[Any], Members]:
    members = {MAY_HAVE_RUN: True, "detail": detail}

    def facts(error: Any) -> Members:
        if error.may_have_run:
            return members
        reason = full_store.reason_of(error)
        return {} if reason is None else _FULL[reason]

    return facts


MALFORMED_REQUEST: Final = Problem("malformed-request", 400, "Bad request", "The request is not valid HTTP/1.1.")
BODY_TOO_LARGE: Final = Problem(
    "body-too-large", 413, "Payload too large", "The body is larger than this route accepts."
)
REQUEST_TIMEOUT: Final = Problem(
    "request-timeout", 408, "Request timeout", "The whole request was not received in time."
)
_STORE_AWAY: Final = "The data store is unavailable. Retry after the time in Retry-After."
# A store without room serves reads, so its error is one of a write that was not made.
_FULL: Final[Mapping[Reason, Members]] = {
    reason: {"detail": f"{full_store.sentence(reason).capitalize()}. Retry after the time in Retry-After."}
    for reason in Reason
    if reason.is_full
}
_OVERLOADED_TITLE: Final = "Overloaded, try again later"

REFUSALS: Final[dict[type[BaseException], Problem]] = {
    cart.InvalidBody: Problem(
        "invalid-body", 422, "Invalid request", "Some values are invalid or missing; `errors` lists them.", _invalid
    ),
    cart.SignInRequired: Problem(
        "unauthenticated",
        401,
        "Unauthorized",
        "This call is for signed-in shoppers: send a valid access token.",
        fields=header("WWW-Authenticate", 'Bearer realm="peakgate"'),
    ),
    cart.CartNotFound: Problem("cart-not-found", 404, "Cart not found", "No cart has this id, or it has expired."),
    cart.LineNotFound: Problem(
        "line-not-found", 404, "Line not found", "The cart has no line of this SKU.", lambda e: {"sku": e.sku}
    ),
    cart.ProductNotFound: Problem(
        "product-not-found", 404, "Product not found", "No product has this SKU.", lambda e: {"sku": e.sku}
    ),
    cart.TrendingPaused: Problem(
        "disabled",
        503,
        "Temporarily disabled",
        "Trending products are off while the server lacks capacity. Retry after the time in Retry-After.",
        retry_after_s=TRENDING_RETRY_S,
    ),
    cart.CartFull: Problem("cart-full", 422, "Cart full", "The cart may have at most `limit` lines.", _limit),
    cart.QuantityLimit: Problem(
        "quantity-limit", 422, "Quantity too large", "The quantity of a line may be at most `limit`.", _limit
    ),
    cart.VersionMismatch: Problem(
        "version-mismatch",
        412,
        "Precondition failed",
        "The cart has changed: its version is not the one in If-Match. Read the cart and try again.",
        lambda e: {"current_version": e.current_version},
    ),
    cart.CartClosed: Problem("cart-closed", 409, "Cart closed", "The cart can no longer be changed.", _closed),
    cart.IdempotencyKeyMissing: Problem(
        "idempotency-key-missing",
        400,
        "Idempotency-Key missing or invalid",
        "Send an Idempotency-Key header.",
        lambda e: {"detail": e.detail},
    ),
    cart.IdempotencyKeyReused: Problem(
        "idempotency-key-reused",
        422,
        "Idempotency-Key reused",
        "This Idempotency-Key was used for another request. Use a new key for each request, and the same one only to retry it.",
    ),
    checkout.OrderNotFound: Problem("order-not-found", 404, "Order not found", "No order has this id."),
    checkout.CartEmpty: Problem("cart-empty", 422, "Cart empty", "The cart has no lines. Add one before checkout."),
    checkout.IdempotencyKeyInProgress: Problem(
        "idempotency-key-in-progress",
        409,
        "Checkout in progress",
        "Another checkout of this cart is still running. Retry with the same Idempotency-Key.",
        retry_after_s=RETRY_AFTER_S,
    ),
    checkout.PriceChanged: Problem(
        "price-changed",
        409,
        "Prices changed",
        "Prices have changed since the cart was filled. Show the new ones, and send `total` as `expected_total` to accept them.",
        lambda e: {"lines": e.lines, "total": e.total},
    ),
    checkout.OutOfStock: Problem(
        "out-of-stock",
        409,
        "Out of stock",
        "Some lines are not available in the requested quantity. Nothing was ordered.",
        lambda e: {"lines": e.lines},
    ),
    cart.HoldNotExtendable: Problem(
        "hold-not-extendable",
        409,
        "Hold not extendable",
        "The units are not held for this cart any more, or their time was extended before.",
    ),
    checkout.ShopperLimit: Problem(
        "shopper-limit",
        409,
        "Limit per shopper",
        "Some lines want more units than one shopper may order. Nothing was ordered.",
        lambda e: {"lines": e.lines},
    ),
    cart.CouponRefused: Problem(
        "coupon-refused",
        409,
        "Coupon refused",
        "The coupon does not count, for the `reason`. Remove it from the cart, or send `total`, if there is one, as `expected_total` to order without it.",
        lambda e: {"code": e.code, "reason": e.fault.value, **({} if e.total is None else {"total": e.total})},
    ),
    checkout.ShippingNotOffered: Problem(
        "shipping-not-offered",
        422,
        "Shipping method not offered",
        "The shipping method is not offered for this cart and address. Choose one of `offered`, or if there is none, another address.",
        lambda e: {"method": e.method, "offered": e.offered},
    ),
    checkout.TotalMismatch: Problem(
        "total-mismatch",
        409,
        "Total mismatch",
        "The total of the order is not the `expected_total`. Nothing was ordered.",
        lambda e: {"total": e.total},
    ),
    checkout.CardDataRefused: Problem(
        "card-data-refused",
        422,
        "Card data refused",
        "The request contains a card number, which is never accepted. Send the token of the payment provider.",
    ),
    checkout.OrderNotDurable: _unavailable(
        "The order could not be stored durably in time. Nothing was ordered; retry with the same Idempotency-Key."
    ),
    checkout.CheckoutInterrupted: _unavailable(
        "The data store failed during the checkout. This request ordered nothing; retry with the same Idempotency-Key.",
        may_have_run="The order may have been placed. Retry with the same Idempotency-Key: it is never placed twice.",
    ),
    checkout.ChangeNotDurable: _unavailable(
        "The order is changed, but the change is not stored durably yet.",
        may_have_run="The order is changed, but the change is not stored durably yet. Repeat the request to make sure of it.",
    ),
    checkout.WebhookNotSigned: Problem(
        "webhook-not-signed",
        401,
        "Webhook not signed",
        "The webhook has no valid signature.",
        lambda e: {"detail": f"The webhook is not accepted: {e.detail}."},
        fields=header("WWW-Authenticate", 'StandardWebhooks realm="peakgate"'),
    ),
    checkout.TooManyFacts: Problem(
        "too-many-reports",
        409,
        "Too many reports",
        "The order has had as many reports and requests as one order takes.",
    ),
    checkout.OrderElsewhere: Problem(
        "order-elsewhere",
        421,
        "Misdirected request",
        "The order is worked on in another Region: send the request to the gateway there.",
        lambda e: {"home_region": e.home},
    ),
    checkout.HomeUnavailable: _unavailable(
        "The Region that works on the order is unavailable. Nothing has changed; retry after the time in Retry-After.",
        may_have_run="The Region that works on the order did not answer. The order may be changed: repeat the request to make sure.",
    ),
    checkout.CancelTooLate: Problem(
        "too-late-to-cancel",
        409,
        "Too late to cancel",
        "An order in this status can no longer be cancelled.",
        lambda e: {"order_status": e.status},
    ),
    StoreOverloaded: Problem(
        "overloaded",
        503,
        _OVERLOADED_TITLE,
        "The data store has too many requests. Retry after the time in Retry-After.",
        retry_after_s=RETRY_AFTER_S,
    ),
    StoreUnavailable: _unavailable(_STORE_AWAY, may_have_run=_READ_FIRST),
    cart.Interrupted: _unavailable(_STORE_AWAY, may_have_run=_READ_FIRST),
    KeysUnavailable: _unavailable("Personal data cannot be sealed or opened now. Retry after the time in Retry-After."),
    ArchiveUnavailable: _unavailable(
        "The archive, where the order may be, is unavailable. Retry after the time in Retry-After."
    ),
    SearchUnavailable: _unavailable("The product search is unavailable. Retry after the time in Retry-After."),
    BodyTooLarge: BODY_TOO_LARGE,
    BodyTooSlow: REQUEST_TIMEOUT,
    BodyMalformed: MALFORMED_REQUEST,
}

NOT_FOUND: Final = Problem("not-found", 404, "Not found", "No route has this path.")
METHOD_NOT_ALLOWED: Final = Problem(
    "method-not-allowed",
    405,
    "Method not allowed",
    "This path does not support the method. The Allow header lists those it does.",
)
MALFORMED_JSON: Final = Problem("malformed-json", 400, "Malformed JSON", "The body is not valid JSON.")
UNSUPPORTED_MEDIA_TYPE: Final = Problem(
    "unsupported-media-type",
    415,
    "Unsupported media type",
    "Send the body as application/json, without Content-Encoding.",
)
HEADERS_TOO_LARGE: Final = Problem(
    "headers-too-large",
    431,
    "Request header fields too large",
    "The header section is too large, or has a field that is too long, or too many fields.",
)
TARGET_TOO_LONG: Final = Problem("target-too-long", 414, "URI too long", "The target of the request is too long.")
UNKNOWN_TRANSFER_CODING: Final = Problem(
    "unknown-transfer-coding", 501, "Not implemented", "The only supported transfer coding is chunked."
)
VERSION_NOT_SUPPORTED: Final = Problem(
    "version-not-supported", 505, "HTTP version not supported", "Send the request with HTTP/1.1."
)
EXPECTATION_FAILED: Final = Problem(
    "expectation-failed", 417, "Expectation failed", "The only supported expectation is 100-continue."
)
AMBIGUOUS: Final = Problem(
    "ambiguous-request",
    400,
    "Ambiguous request",
    "The request could be interpreted in more than one way, which would allow request smuggling.",
)
UNAUTHENTICATED: Final = Problem("unauthenticated", 401, "Unauthorized", "Send a valid access token or API key.")
FORBIDDEN: Final = Problem("forbidden", 403, "Forbidden", "Requests from this address are not allowed.")
# Retry-After of these is set by the layer that rejects: it knows the delay, and jitters it.
QUOTA_EXCEEDED: Final = Problem(
    "quota-exceeded", 429, "Too many requests", "A rate limit is exceeded. Retry after the time in Retry-After."
)
OVERLOADED: Final = Problem(
    "overloaded",
    503,
    _OVERLOADED_TITLE,
    "The server has more requests than it can handle. Retry after the time in Retry-After.",
)
WAITING_ROOM: Final = Problem(
    "waiting-room", 503, "Waiting room", "The route has a queue. Retry with the token after the time in Retry-After."
)
SOLD_OUT: Final = Problem(
    "sold-out", 409, "Sold out", "The remaining stock is reserved for clients ahead in the queue."
)
DISABLED: Final = Problem(
    "disabled", 503, "Temporarily disabled", "This feature is switched off. Retry after the time in Retry-After."
)
BAD_GATEWAY: Final = Problem("bad-gateway", 502, "Bad gateway", "The upstream of this path sent no valid response.")
GATEWAY_TIMEOUT: Final = Problem(
    "gateway-timeout", 504, "Gateway timeout", "The upstream of this path did not respond in time."
)
NOT_IMPLEMENTED: Final = Problem("not-implemented", 501, "Not implemented", "Requests of this kind are not forwarded.")
TIMED_OUT: Final = _unavailable("The request could not be completed in time. Retry after the time in Retry-After.")
# Of a write that was cut off.
TIMED_OUT_FACTS: Final[Members] = {MAY_HAVE_RUN: True, "detail": _READ_FIRST}
INTERNAL: Final = Problem(
    "internal-error", 500, "Internal server error", "The request failed. The error is logged with the id in `instance`."
)

ALL: Final = (
    *REFUSALS.values(),
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    MALFORMED_JSON,
    UNSUPPORTED_MEDIA_TYPE,
    HEADERS_TOO_LARGE,
    TARGET_TOO_LONG,
    UNKNOWN_TRANSFER_CODING,
    VERSION_NOT_SUPPORTED,
    EXPECTATION_FAILED,
    TIMED_OUT,
    INTERNAL,
    AMBIGUOUS,
    UNAUTHENTICATED,
    FORBIDDEN,
    QUOTA_EXCEEDED,
    OVERLOADED,
    WAITING_ROOM,
    SOLD_OUT,
    DISABLED,
    BAD_GATEWAY,
    GATEWAY_TIMEOUT,
    NOT_IMPLEMENTED,
)


def move(prefix: str) -> None:
    """Put the types of all problems below a prefix, where their pages are."""
    for row in ALL:
        row.opening["type"] = f"{prefix}/problems/{row.slug}"
        row.opening_json = orjson.dumps(row.opening)[:-1]


def response(
    problem: Problem, request_id: str, members: Members | None = None, *, header_block: bytes = b""
) -> Response:
    """The response of a problem; `members` are its facts."""
    if members:
        facts = {**problem.opening, "instance": request_id, **members}
        body = orjson.dumps(facts, default=msgspec.structs.asdict)
    else:
        body = b'%b,"instance":"%b"}' % (problem.opening_json, request_id.encode())
    return encoded(problem, body, header_block=problem.header_block + header_block)


def encoded(problem: Problem, body: bytes, *, header_block: bytes) -> Response:
    """The response of a problem whose body is encoded already."""
    made = Response(problem.status, body, header_block=header_block, content_type=PROBLEM_JSON)
    made.problem = problem
    return made


def of_error(error: BaseException) -> Problem | None:
    """The problem of an error or of its nearest base class, None for an internal error."""
    for kind in type(error).__mro__:
        if problem := REFUSALS.get(kind):
            return problem
    return None

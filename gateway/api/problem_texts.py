"""The meaning of each problem type: for the pages at `/problems/<slug>`, to which `type` of an error response leads.

A test holds that every problem has a row, and every member of its example a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Explanation:
    """When a problem occurs, what a client does, and its own members; sentences in plain text."""

    occurs: str
    client: str
    members: Mapping[str, str] = field(default_factory=dict)


_SKU: Final = {"sku": "The SKU of the request."}
_LATER: Final = "Send the same request again after the seconds in Retry-After, which differ between clients."
_FIX: Final = "Do not repeat the request as it is; it fails each time."
_ERRORS: Final = {
    "errors": "A list; each entry has a JSON pointer (RFC 6901) to the invalid or missing member in `pointer`, and in "
    "`detail` what it must be. The pointer of a query parameter is its name after a slash."
}

EXPLANATIONS: Final[Mapping[str, Explanation]] = {
    "invalid-body": Explanation(
        "The JSON is well formed, but a member is missing, unknown or has a value that is not allowed; or a query parameter is.",
        f"Correct the members that `errors` names. {_FIX}",
        _ERRORS,
    ),
    "malformed-json": Explanation(
        "The body is not JSON: it ends early, is not UTF-8, or breaks the grammar of RFC 8259.",
        f"Correct the program that made the body. {_FIX}",
        _ERRORS,
    ),
    "cart-not-found": Explanation(
        "The id is not one of a cart; the cart was deleted or has expired; or it belongs to a shopper who is not signed in.",
        "Create a new cart. If the shopper has an account, sign in first: carts of others do not exist for a client.",
    ),
    "line-not-found": Explanation(
        "A line was to be removed that the cart does not have.",
        "Read the cart and show its lines. For a repeated removal the line is gone, as intended.",
        _SKU,
    ),
    "product-not-found": Explanation(
        "The catalogue has no product of this SKU, or no longer.",
        "Show that the product is not sold. SKUs are compared by case and percent-encoded in paths.",
        _SKU,
    ),
    "order-not-found": Explanation(
        "The id is not one of an order, or the order belongs to a shopper who is not signed in.",
        "Use the id from the Location of the checkout. Sign in if the shopper has an account.",
    ),
    "webhook-not-signed": Explanation(
        "The headers webhook-id, webhook-timestamp and webhook-signature are missing, the signature is not one of this body by a "
        "secret of the shop, or it is older than five minutes.",
        "Sign with the secret that the shop has configured, over id, timestamp and the bytes of the body, at each attempt anew.",
    ),
    "too-many-reports": Explanation(
        "More different reports on one order were sent than an order has in its life. A repeat of an earlier one is accepted.",
        "Give a repeated report the webhook-id of the first one. Ask the operator of the shop.",
    ),
    "cart-full": Explanation(
        "Another line would exceed the number of lines that a cart may have.",
        "Remove a line, or begin another cart.",
        {"limit": "The number of lines that a cart may have."},
    ),
    "quantity-limit": Explanation(
        "The quantity of a line, or the sum of the old and the added one, is too large.",
        "Ask for a smaller quantity.",
        {"limit": "The quantity that a line may have."},
    ),
    "version-mismatch": Explanation(
        "The request has an If-Match with an ETag or version, and the cart has changed since that version.",
        "Read the cart, apply the change to what it is now, and send it with the new ETag.",
        {"current_version": "The version of the cart now."},
    ),
    "cart-closed": Explanation(
        "The cart was ordered, or merged into another one. Neither can be undone.",
        "If `order_id` is present, show that order. Otherwise use the cart into which it was merged, or a new one.",
        {"order_id": "The order that was made of the cart; absent if it was merged."},
    ),
    "cart-empty": Explanation("A cart without lines was to be checked out.", "Add a line before the checkout."),
    "idempotency-key-missing": Explanation(
        "A checkout has no Idempotency-Key, or a request has one that is not 1 to 255 visible ASCII characters.",
        "Choose a key, such as a UUID, for each request, and send the same one whenever it is retried. Changes of carts need none.",
    ),
    "idempotency-key-reused": Explanation(
        "The key belongs to a request with another body, or to another change of the same cart.",
        "Use a new key for another request. For a retry, send the very body of the first attempt.",
    ),
    "idempotency-key-in-progress": Explanation(
        "A checkout of this cart is still running, for example because the first response was not awaited.",
        "Send the same checkout with the same key again after Retry-After: the response is then that of the first one.",
    ),
    "price-changed": Explanation(
        "Since the shopper saw the prices of the cart, the price of a line has changed. Nothing was ordered.",
        "Show the new prices. If the shopper accepts, check out again with `total` as `expected_total`.",
        {
            "lines": "The lines with other prices: `sku`, the price that the shopper saw in `was`, the current one in `now`.",
            "total": "The total of the order at current prices.",
        },
    ),
    "out-of-stock": Explanation(
        "There are fewer units for sale than the cart has. Nothing was ordered, and the cart is as it was.",
        "Show what is available, change or remove these lines, and check out again.",
        {"lines": "The lines with too few units: `sku`, `requested`, and `available` where the shop shows it."},
    ),
    "hold-not-extendable": Explanation(
        "The time for which the cart holds the units of a line can be extended once, while it runs. It was extended before, or is over.",
        "Check out before the time is over. Afterwards, set the quantity of the line again: its units are held if they are still for sale.",
    ),
    "shopper-limit": Explanation(
        "One shopper may order so many units of a product within some days, and earlier orders count: those of the signed-in "
        "shopper, and those with the same e-mail address. Nothing was ordered, and the cart is as it was.",
        "Show what the shopper may still order, change or remove these lines, and check out again.",
        {
            "lines": "The lines with too many units: `sku`, `requested`, and what the shopper may still order in `remaining`."
        },
    ),
    "total-mismatch": Explanation(
        "The checkout has an `expected_total` that is not the total of the order. Nothing was ordered.",
        "Show `total` to the shopper, and check out again with it if they accept.",
        {"total": "The total of the order at current prices."},
    ),
    "coupon-refused": Explanation(
        "The coupon of the cart, or one that was to be given to it, does not count. Nothing was ordered.",
        "Take the coupon from the cart and show the new total. Or, where there is a `total`, send it as `expected_total` once the shopper "
        "accepts to pay it.",
        {
            "code": "The code of the coupon.",
            "reason": "`unknown`: there is no such coupon; `not-started`, `ended`: it is for another time; `other-currency`, "
            "`below-minimum`, `no-such-goods`: it is for other carts; `used-up`: nobody can use it any more, unless orders are "
            "cancelled; `used-by-shopper`: this shopper has used it as often as a shopper may.",
            "total": "The total of the order without the coupon.",
        },
    ),
    "shipping-not-offered": Explanation(
        "The shipping method has no price for these goods and this country. Nothing was ordered.",
        "Let the shopper choose one of `offered`; if it is empty, the goods cannot be shipped to this country.",
        {
            "method": "The shipping method of the request.",
            "offered": "The names of the methods that the cart can have.",
        },
    ),
    "card-data-refused": Explanation(
        "A number in the request looks like that of a payment card: in the body, the path, the query or a header field, "
        "in any spelling. It was neither stored nor logged.",
        "Never send card numbers here. Have the payment provider's form turn the card into a token, and send the token.",
    ),
    "order-elsewhere": Explanation(
        "The shop has several Regions, and the store of another one works on the order. Only that one may change it, and this "
        "gateway does not forward the request.",
        "Send the same request to the gateway of that Region. Reading the order works in every Region.",
        {"home_region": "The name of the Region."},
    ),
    "too-late-to-cancel": Explanation(
        "The shipment of the order is arranged, or the order is completed or cancelled.",
        "Show the order's status. A return is arranged with the shop.",
        {"order_status": "The status of the order now."},
    ),
    "dependency-unavailable": Explanation(
        "A part that the request needs, such as the data store or the search, is unavailable or too slow.",
        f"{_LATER} Before a write with may_have_run is repeated, read what it changes. A checkout is retried with the same "
        "Idempotency-Key, which cannot order twice.",
        {
            "may_have_run": "True if the request was a write that may have taken effect although it failed. Absent if it has "
            "changed nothing."
        },
    ),
    "overloaded": Explanation(
        "There are more requests than can be served in good time. Less important ones are rejected first.", _LATER
    ),
    "quota-exceeded": Explanation(
        "A rate limit of the client's address, key or account, or of the route, is used up.",
        f"{_LATER} RateLimit and RateLimit-Policy say what is left, and of which limits.",
        {"violated-policies": "The names of the limits that are exceeded, as in RateLimit-Policy."},
    ),
    "waiting-room": Explanation(
        "The route admits clients one after another, for example during a sale, and the client is in the queue.",
        "Send the same request again after Retry-After, with the cookie, or with `token` in Waiting-Room-Token.",
        {
            "position": "The position in the queue, the first being 1; null if it is unknown.",
            "eta_seconds": "The expected time until admission, in seconds; null if it is unknown.",
            "token": "The place in the queue, to be sent as Waiting-Room-Token; null if there is none.",
        },
    ),
    "sold-out": Explanation(
        "The queue is for a product whose remaining stock is reserved for those ahead.",
        "Show that the product is sold out. A reserved unit may become free: a later request may succeed.",
        {
            "position": "The position in the queue, the first being 1; null if it is unknown.",
            "eta_seconds": "Always null.",
            "token": "The place in the queue; null if there is none.",
        },
    ),
    "disabled": Explanation(
        "The operator has switched this feature off for a time, for all clients or for a share of them; or it is one that "
        "switches itself off while the server lacks capacity.",
        f"Hide the feature. {_LATER}",
    ),
    "unauthenticated": Explanation(
        "The access token or API key is malformed, expired, revoked or not accepted here; or the route needs one.",
        "Get a new access token, or sign in again. WWW-Authenticate says what is wrong with the token.",
    ),
    "forbidden": Explanation(
        "The address of the client is denied, or is not one of those that are allowed.",
        "Ask the operator of the shop. Repeating the request does not help.",
    ),
    "not-found": Explanation("No route has the path of the request.", "Compare the path with the API reference."),
    "method-not-allowed": Explanation(
        "The path exists, but not with this method.", "Use one of the methods that the header field Allow lists."
    ),
    "unsupported-media-type": Explanation(
        "The Content-Type is not JSON, or the body has a Content-Encoding.",
        "Send JSON with `Content-Type: application/json`, not compressed.",
    ),
    "body-too-large": Explanation(
        "The body is larger than the route accepts: 64 KiB, or 512 KiB for many lines at once.",
        "Send fewer lines with each request.",
    ),
    "headers-too-large": Explanation(
        "The header section, or one of its fields, is too large, or there are too many fields.",
        "Send fewer and shorter fields; large cookies are the usual cause.",
    ),
    "target-too-long": Explanation(
        "The path and query of the request are too long.", "Shorten the query; long values belong into a body."
    ),
    "request-timeout": Explanation(
        "The request was not received completely in time.", "Send it again on a new connection, without pauses."
    ),
    "malformed-request": Explanation(
        "The bytes are not a request of HTTP/1.1 (RFC 9112).", "Correct the client or the proxy that made the request."
    ),
    "ambiguous-request": Explanation(
        "Two servers could read the request differently, for example by two Content-Length fields.",
        "Correct the client or the proxy that made the request.",
    ),
    "expectation-failed": Explanation(
        "The request has an Expect other than 100-continue.", "Send the request without the field Expect."
    ),
    "unknown-transfer-coding": Explanation(
        "The body has a transfer coding other than chunked.", "Send the body with Content-Length, or chunked."
    ),
    "version-not-supported": Explanation(
        "The request is of a version of HTTP that is not spoken here.", "Send the request with HTTP/1.1."
    ),
    "internal-error": Explanation(
        "The server failed at the request. The cause is logged with the id in `instance`.",
        "A request that changes nothing may be repeated once. Tell the operator the id if it fails again.",
    ),
    "bad-gateway": Explanation(
        "The server behind this path refused the connection, or its response was not valid.",
        "Repeat a request that changes nothing after some seconds. Another may have had its effect: look first.",
    ),
    "gateway-timeout": Explanation(
        "The server behind this path did not respond in time; or the request is for cached responses only, and there is none.",
        "Repeat a request that changes nothing after some seconds. Another may have had its effect: look first.",
    ),
    "not-implemented": Explanation(
        "The request asks for something that is not forwarded, such as an upgrade to WebSocket.",
        "Use plain requests on this path.",
    ),
}

"""The name and the description of every operation in the OpenAPI document; clients that are generated use the names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Operation(NamedTuple):
    """`name` is the `operationId`."""

    name: str
    description: str


_IF_MATCH: Final = (
    "With `If-Match` it changes only the version of the cart that the client has seen. With an `Idempotency-Key` it may be "
    "retried: it is done once, and a retry gets the cart as it is then. A cart knows the keys of its last 50 changes for a day."
)
# By the name of the route.
OPERATIONS: Final[Mapping[str, Operation]] = {
    "POST /v1/carts": Operation(
        "create_cart",
        "The cart is empty, in the given currency or in that of the shop. It belongs to the signed-in shopper, or to every "
        "client that knows its id. A repeated request makes another cart: an `Idempotency-Key` has no effect, and an unused cart "
        "expires.",
    ),
    "GET /v1/carts/mine": Operation(
        "read_own_cart",
        "The one cart of the signed-in shopper, on every device. An empty one is made where there is none, and after theirs was "
        "ordered, merged, deleted or has expired. Its `id` is for the other calls: changes, checkout, and merging the cart that "
        "the shopper filled before they signed in.",
    ),
    "GET /v1/carts/{cart_id}": Operation(
        "read_cart",
        "Lines have the prices of this moment; `warnings` name what has changed since the shopper saw them, and lines of an open "
        "cart that exceed the stock, as of some two seconds ago. Only the checkout holds stock, but for products that are held at the cart: see `hold`.",
    ),
    "DELETE /v1/carts/{cart_id}": Operation("delete_cart", f"A cart that was ordered is not deleted. {_IF_MATCH}"),
    "POST /v1/carts/{cart_id}/lines": Operation(
        "add_line",
        "Adds to the line of the SKU, or begins it. It is no set: a request that is repeated without an `Idempotency-Key` adds "
        f"again. {_IF_MATCH}",
    ),
    "PATCH /v1/carts/{cart_id}/lines": Operation(
        "set_lines", f"Each quantity replaces that of its line; may be repeated. {_IF_MATCH}"
    ),
    "PUT /v1/carts/{cart_id}/lines/{sku}": Operation("set_line", f"May be repeated. {_IF_MATCH}"),
    "DELETE /v1/carts/{cart_id}/lines/{sku}": Operation(
        "remove_line", f"A line that the cart does not have is a 404. {_IF_MATCH}"
    ),
    "PUT /v1/carts/{cart_id}/coupon": Operation(
        "set_coupon",
        "The cart has one coupon at most, which takes the place of a line. `discounts` has its reduction, or `refused_coupon` the reason "
        f"why there is none; both may change with the lines and with time. May be repeated. {_IF_MATCH}",
    ),
    "DELETE /v1/carts/{cart_id}/coupon": Operation("remove_coupon", f"May be repeated. {_IF_MATCH}"),
    "GET /v1/carts/{cart_id}/quote": Operation(
        "quote_cart",
        "The price of an order at this moment: lines with their shares of discounts and taxes, every shipping method that the cart can "
        "have, and the total, which is the `expected_total` of a checkout. It holds nothing.",
    ),
    "POST /v1/carts/{cart_id}/lines/{sku}/hold": Operation(
        "extend_hold",
        "Products of a drop are held at the cart: a line shows as `hold` how many of its units nobody else can buy, and until when. "
        "This call extends the time once, by as much as it had at first. It has no body.",
    ),
    "POST /v1/carts/{cart_id}/merge": Operation(
        "merge_cart",
        "Takes the lines of another cart, which is then closed. So a shopper who signs in takes over the cart that they "
        f"filled before. A merge that was done is not done again. {_IF_MATCH}",
    ),
    "GET /v1/products": Operation(
        "list_products",
        "Pages are linked by `next_cursor`. With `q` the products that match come, the best first. Filters can be combined. A page "
        "may be short, even empty, where it would take too long to fill it: a list ends where `next_cursor` is null. A cursor "
        "belongs to the `q`, category and price range of its page.",
    ),
    "GET /v1/products/trending": Operation(
        "list_trending_products",
        "The products of the most orders, of which those of now count most. There is one page, and filters choose from the first "
        "100 products. It is the first call that is off (503 `disabled`) while the shop lacks capacity: leave the list out then.",
    ),
    "GET /v1/products/{sku}": Operation("read_product", "The price and stock of this moment."),
    "POST /v1/checkout": Operation(
        "check_out",
        "Makes an order of the cart. It is accepted once it is stored durably; stock, payment and shipping follow. A retry "
        "with the same `Idempotency-Key` and body gets the response of the first attempt, for as long as the cart is stored. The "
        "key belongs to the cart: with another cart it is another checkout. After a 503 with `may_have_run` the order may have "
        "been placed, which the retry finds out. An anonymous cart becomes the order of the signed-in shopper. Never send a "
        "card number.",
    ),
    "GET /v1/orders/{order_id}": Operation(
        "read_order",
        "The order in its current status, with its history. `shipping_address` is in the orders of signed-in shoppers only: "
        "the id of an anonymous order is known to every client that knows its cart.",
    ),
    "GET /v1/orders": Operation(
        "list_orders",
        "A new order may be missing for as long as it waits in the queue, if the process that accepted it has died.",
    ),
    "GET /v1/orders/{order_id}/events": Operation(
        "follow_order",
        "Sends the history and then each change of the status. A refund has the event type `refund`. The stream ends once the "
        "order is in the status `until`, a later one, or `cancelled`, after all that has happened by then; and after an hour at "
        "most, or when its worker ends. A client that reconnects continues with `Last-Event-ID`, without a gap or a repeat, and gets "
        "204 where there is nothing more to follow: an order is followed to the doorstep with `until=delivered`.",
    ),
    "POST /v1/orders/{order_id}/cancel": Operation(
        "cancel_order", "Stock and payment are returned afterwards. May be repeated."
    ),
    "POST /v1/webhooks/payment": Operation(
        "reportPayment",
        "For the payment service of the shop. The body is an event of the contract in `docs/payments.md`, signed as Standard "
        "Webhooks give it, or an event of Stripe with its own signature in `Stripe-Signature`. A repeat has no effect. An event "
        "about an order of another shop is accepted, and has no effect either.",
    ),
    "POST /v1/webhooks/shipping": Operation(
        "report_shipment",
        "For the carrier or shipping service of the shop, signed as Standard Webhooks are. The report is stored when it is "
        "answered, and applied afterwards; one that comes before the order is completed waits. A repeat has no effect, and "
        "neither has an earlier status after a later one.",
    ),
    "GET /healthz": Operation("read_health", "For balancers and supervisors: answered without any dependency."),
    "GET /readyz": Operation(
        "read_readiness", "For balancers: 503 while the worker starts, drains or lacks what it needs."
    ),
}
TAGS: Final[Mapping[str, str]] = {
    "carts": "Carts and their lines.",
    "products": "The catalogue.",
    "orders": "Checkout and orders.",
    "webhooks": "Reports of other services, where the shop has configured them.",
    "health": "For balancers and supervisors.",
}

"""The name and the description of every operation in the OpenAPI document; clients that are generated use the names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Operation(NamedTuple):
    """`name` is the `operationId`."""

    name: str
    description: str


_IF_MATCH: Final = "With `If-Match` it changes only the version of the cart that the client has seen."
# By the name of the route.
OPERATIONS: Final[Mapping[str, Operation]] = {
    "POST /v1/carts": Operation(
        "create_cart",
        "The cart is empty, in the given currency or in that of the shop. It belongs to the signed-in shopper, or to every "
        "client that knows its id.",
    ),
    "GET /v1/carts/{cart_id}": Operation(
        "read_cart",
        "Lines have the prices of this moment; `warnings` name what has changed since the shopper saw them.",
    ),
    "DELETE /v1/carts/{cart_id}": Operation("delete_cart", f"A cart that was ordered is not deleted. {_IF_MATCH}"),
    "POST /v1/carts/{cart_id}/lines": Operation(
        "add_line",
        f"Adds to the line of the SKU, or begins it. It is no set: a repeated request adds again. {_IF_MATCH}",
    ),
    "PATCH /v1/carts/{cart_id}/lines": Operation(
        "set_lines", f"Each quantity replaces that of its line; may be repeated. {_IF_MATCH}"
    ),
    "PUT /v1/carts/{cart_id}/lines/{sku}": Operation("set_line", f"May be repeated. {_IF_MATCH}"),
    "DELETE /v1/carts/{cart_id}/lines/{sku}": Operation(
        "remove_line", f"A line that the cart does not have is a 404. {_IF_MATCH}"
    ),
    "POST /v1/carts/{cart_id}/merge": Operation(
        "merge_cart",
        "Takes the lines of another cart, which is then closed. So a shopper who signs in takes over the cart that they "
        "filled before.",
    ),
    "GET /v1/products": Operation(
        "list_products", "Pages are linked by `next_cursor`. With `q` the products that match come, the best first."
    ),
    "GET /v1/products/{sku}": Operation("read_product", "The price and stock of this moment."),
    "POST /v1/checkout": Operation(
        "check_out",
        "Makes an order of the cart. It is accepted once it is stored durably; stock, payment and shipping follow. A retry "
        "with the same `Idempotency-Key` and body gets the response of the first attempt. Never send a card number.",
    ),
    "GET /v1/orders/{order_id}": Operation("read_order", "The order in its current status, with its history."),
    "GET /v1/orders/{order_id}/events": Operation(
        "follow_order",
        "Sends the history and then each change of the status; ends with the final one. A client that reconnects continues "
        "with `Last-Event-ID`.",
    ),
    "POST /v1/orders/{order_id}/cancel": Operation(
        "cancel_order", "Stock and payment are returned afterwards. May be repeated."
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
    "health": "For balancers and supervisors.",
}

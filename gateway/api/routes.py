"""The route table: method and path → handler, request body, response. The OpenAPI document is made from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from msgspec import Meta

from cart.bodies import AddLine, MergeCart, NewCart, PutLine, SetLine
from cart.catalog import responses as product_responses
from cart.catalog.handlers import LIMIT_DEFAULT, ProductHandlers
from cart.errors import InvalidBody
from cart.handlers import CartHandlers
from cart.model import Sku
from cart.responses import Cart as CartBody
from cart.view import CartView
from checkout.cards import contains_card_number
from checkout.handlers import CheckoutHandlers
from checkout.purchase import PlacedOrder
from checkout.request import CheckoutRequest
from checkout.responses import Order as OrderBody
from gateway.api.binding import Route
from gateway.api.events import order_events
from gateway.http.conditions import content_tag, if_match, versioned_tag
from gateway.http.message import Request, header
from gateway.http.own_paths import OWN_PREFIX

# 1,000 lines of the longest SKU, escaped, with their quantities.
BATCH_BODY_LIMIT: Final = 512 * 1024
SetLines = Annotated[list[SetLine], Meta(min_length=1)]

_WRITE_PROBLEMS: Final = ("cart-not-found", "cart-closed", "version-mismatch", "invalid-body", "malformed-json")
_LINE_PROBLEMS: Final = (*_WRITE_PROBLEMS, "product-not-found", "quantity-limit", "cart-full")
# Of authentication: an invalid token or key, a denied address; and a card number anywhere in a request.
_CLIENT_PROBLEMS: Final = ("unauthenticated", "forbidden", "card-data-refused")


def cart_routes(carts: CartHandlers) -> Sequence[Route]:
    """The cart calls. A signed-in shopper owns the carts they create, and takes over an anonymous cart by merging it."""
    line = "/v1/carts/{cart_id}/lines/{sku}"
    lines = "/v1/carts/{cart_id}/lines"
    cart = "/v1/carts/{cart_id}"
    route = _with_defaults(
        "carts", criticality="cart-write", response=CartBody, etag=versioned_tag, headers=_cart_caching
    )
    return (
        route(
            "POST",
            "/v1/carts",
            lambda request, body: carts.create(body, owner=request.shopper),
            "Create a cart",
            body=NewCart,
            body_is_optional=True,
            status=201,
            headers=_cart_created,
            problems=("invalid-body", "malformed-json"),
        ),
        route(
            "GET",
            cart,
            lambda request, _body: carts.read(request.params[0], owner=request.shopper),
            "Read a cart at current prices",
            criticality="cart-read",
            parameters=("If-None-Match",),
            problems=("cart-not-found",),
        ),
        route(
            "DELETE",
            cart,
            lambda request, _body: carts.delete(request.params[0], if_match=if_match(request), owner=request.shopper),
            "Delete a cart",
            response=None,
            etag=None,
            status=204,
            parameters=("If-Match",),
            problems=("cart-not-found", "cart-closed", "version-mismatch"),
        ),
        route(
            "POST",
            lines,
            lambda request, body: carts.add_line(
                request.params[0], body, if_match=if_match(request), owner=request.shopper
            ),
            "Add a quantity of a SKU",
            body=AddLine,
            parameters=("If-Match",),
            problems=_LINE_PROBLEMS,
        ),
        route(
            "PATCH",
            lines,
            lambda request, body: carts.patch_lines(
                request.params[0], body, if_match=if_match(request), owner=request.shopper
            ),
            "Set up to 1,000 lines, all or none; quantity 0 removes",
            body=SetLines,
            body_limit=BATCH_BODY_LIMIT,
            parameters=("If-Match",),
            problems=_LINE_PROBLEMS,
        ),
        route(
            "PUT",
            line,
            lambda request, body: carts.put_line(
                request.params[0], request.params[1], body, if_match=if_match(request), owner=request.shopper
            ),
            "Set the quantity of a line; 0 removes it",
            body=PutLine,
            parameters=("If-Match",),
            problems=(*_LINE_PROBLEMS, "line-not-found"),
        ),
        route(
            "DELETE",
            line,
            lambda request, _body: carts.delete_line(
                request.params[0], request.params[1], if_match=if_match(request), owner=request.shopper
            ),
            "Remove a line",
            parameters=("If-Match",),
            problems=("cart-not-found", "line-not-found", "cart-closed", "version-mismatch"),
        ),
        route(
            "POST",
            "/v1/carts/{cart_id}/merge",
            lambda request, body: carts.merge(
                request.params[0], body, if_match=if_match(request), owner=request.shopper
            ),
            "Merge another cart into this one and close the other",
            body=MergeCart,
            parameters=("If-Match",),
            problems=(*_WRITE_PROBLEMS, "quantity-limit", "cart-full"),
        ),
    )


def product_routes(products: ProductHandlers) -> Sequence[Route]:
    """The catalogue calls."""
    route = _with_defaults("products", criticality="browse", is_public=True, etag=content_tag, headers=_product_caching)
    return (
        route(
            "GET",
            "/v1/products",
            lambda request, _body: products.page(**_page_query(request)),
            "List or search products",
            response=product_responses.ProductPage,
            parameters=("limit", "cursor", "q", "If-None-Match"),
            problems=("invalid-body",),
        ),
        route(
            "GET",
            "/v1/products/{sku}",
            lambda request, _body: products.get(Sku(request.params[0])),
            "Read a product with its current stock",
            response=product_responses.Product,
            parameters=("If-None-Match",),
            problems=("product-not-found",),
        ),
    )


def checkout_routes(checkout: CheckoutHandlers) -> Sequence[Route]:
    """The checkout and order calls. Most await more than one reply, so they run in tasks of their own."""
    order = "/v1/orders/{order_id}"
    route = _with_defaults("orders", criticality="checkout", response=OrderBody, hot=False)
    return (
        route(
            "POST",
            "/v1/checkout",
            lambda request, body: checkout.place(
                body, idempotency_key=request.headers.get("Idempotency-Key"), owner=request.shopper
            ),
            "Check out a cart, once",
            # The handler starts a task of its own, so that rejecting a checkout is as cheap as rejecting any other request.
            hot=True,
            body=CheckoutRequest,
            # Numbers of any issuer: what a shopper types here is neither a SKU nor a search.
            inspect=contains_card_number,
            status=202,
            headers=_placed,
            parameters=("Idempotency-Key",),
            problems=(
                "idempotency-key-missing",
                "idempotency-key-reused",
                "idempotency-key-in-progress",
                "invalid-body",
                "malformed-json",
                "cart-not-found",
                "cart-closed",
                "cart-empty",
                "price-changed",
                "out-of-stock",
                "total-mismatch",
                "dependency-unavailable",
            ),
        ),
        route(
            "GET",
            order,
            lambda request, _body: checkout.read(request.params[0], owner=request.shopper),
            "Read an order",
            hot=True,
            headers=lambda _order, _body: _NO_STORE,
            problems=("order-not-found",),
        ),
        route(
            "GET",
            order + "/events",
            lambda request, _body: order_events(checkout, request),
            "Follow an order as server-sent events",
            response=None,
            media_type="text/event-stream",
            parameters=("Last-Event-ID",),
            problems=("order-not-found",),
        ),
        route(
            "POST",
            order + "/cancel",
            lambda request, _body: checkout.cancel(request.params[0], owner=request.shopper),
            "Cancel an order that has not been shipped",
            status=202,
            problems=("order-not-found", "too-late-to-cancel"),
        ),
    )


def _with_defaults(tag: str, **defaults: Any) -> Any:
    """`Route` with these defaults."""

    def route(method: str, path: str, call: Any, summary: str, **options: Any) -> Route:
        options["problems"] = (*options["problems"], *_CLIENT_PROBLEMS)
        return Route(method=method, path=path, call=call, summary=summary, tag=tag, **{**defaults, **options})

    return route


_NO_STORE: Final = header("Cache-Control", "no-store")
# A browser's or balancer's cache adds up to a second to the two seconds within which new prices are effective here.
_PRODUCT_CACHING: Final = header("Cache-Control", "public, max-age=1")


def _product_caching(_view: object, _body: bytes) -> bytes:
    return _PRODUCT_CACHING


# No shared cache may store a cart: its id or its owner's token gives access. The browser's own cache validates it with
# the entity tag each time, and access is checked before tags are compared.
_CART_CACHING: Final = header("Cache-Control", "private, no-cache")


def _cart_caching(_view: object, _body: bytes) -> bytes:
    return _CART_CACHING


def _cart_created(view: CartView, _body: bytes) -> bytes:
    return _CART_CACHING + header("Location", f"{OWN_PREFIX.value}/v1/carts/{view.cart.id}")


def _placed(placed: PlacedOrder, _body: bytes) -> bytes:
    location = header("Location", f"{OWN_PREFIX.value}/v1/orders/{placed.order.id}")
    return location + _REPLAYED if placed.replayed else location


_REPLAYED: Final = header("Idempotent-Replayed", "true")
_NUMBER: Final = re.compile(r"\d{1,6}", re.ASCII)


def _page_query(request: Request) -> dict[str, Any]:
    """The query parameters of a page: `limit`, `cursor`, `q`; others are ignored."""
    query = parse_qs(request.query, keep_blank_values=True, errors="surrogateescape")
    limit = query.get("limit", [str(LIMIT_DEFAULT)])[-1]
    if not _NUMBER.fullmatch(limit):
        raise InvalidBody([("/limit", "must be a whole number")])
    return {"limit": int(limit), "cursor": query.get("cursor", [None])[-1], "q": query.get("q", [None])[-1]}

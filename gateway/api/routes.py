"""The route table: method and path → handler, body, answer. The OpenAPI document is made of the same rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from msgspec import Meta

from cart.bodies import AddLine, MergeCart, NewCart, PutLine, SetLine
from cart.catalog.handlers import LIMIT_DEFAULT, ProductHandlers
from cart.errors import InvalidBody
from cart.handlers import CartHandlers
from cart.model import Sku
from cart.view import CartView
from checkout.cards import contains_card_number
from checkout.errors import CardDataRefused
from checkout.handlers import CheckoutHandlers
from checkout.purchase import PlacedOrder
from checkout.request import CheckoutRequest
from gateway.api.binding import Route
from gateway.api.events import order_events
from gateway.http.conditions import content_tag, if_match, versioned_tag
from gateway.http.message import Request, header

# 1,000 lines of the longest SKU, escaped, with their quantities.
BATCH_BODY_LIMIT: Final = 512 * 1024
SetLines = Annotated[list[SetLine], Meta(min_length=1)]

_WRITE: Final = ("cart-not-found", "cart-closed", "version-mismatch", "invalid-body", "malformed-json")
_LINE: Final = (*_WRITE, "product-not-found", "quantity-limit", "cart-full")
# Wherever the gateway knows its callers: a token or key that is not good, an address that is not let in.
_CALLER: Final = ("unauthenticated", "forbidden")


def cart_routes(carts: CartHandlers) -> Sequence[Route]:
    """The cart calls. A signed-in shopper owns the carts they make; a cart made before is claimed by merging it into one."""
    line = "/v1/carts/{cart_id}/lines/{sku}"
    lines = "/v1/carts/{cart_id}/lines"
    cart = "/v1/carts/{cart_id}"
    row = _rows("carts", criticality="cart-write", answers="Cart", etag=versioned_tag, headers=_cart_caching)
    return (
        row(
            "POST",
            "/v1/carts",
            lambda request, body: carts.create(body, owner=request.shopper),
            "Make a cart",
            body=NewCart,
            body_is_optional=True,
            status=201,
            headers=_cart_made,
            refusals=("invalid-body", "malformed-json"),
        ),
        row(
            "GET",
            cart,
            lambda request, _body: carts.read(request.params[0], owner=request.shopper),
            "Read a cart at the prices of now",
            criticality="cart-read",
            parameters=("If-None-Match",),
            refusals=("cart-not-found",),
        ),
        row(
            "DELETE",
            cart,
            lambda request, _body: carts.delete(request.params[0], if_match=if_match(request), owner=request.shopper),
            "Forget a cart",
            answers=None,
            etag=None,
            status=204,
            parameters=("If-Match",),
            refusals=("cart-not-found", "cart-closed", "version-mismatch"),
        ),
        row(
            "POST",
            lines,
            lambda request, body: carts.add_line(
                request.params[0], body, if_match=if_match(request), owner=request.shopper
            ),
            "Add to the line of a SKU, or start it",
            body=AddLine,
            parameters=("If-Match",),
            refusals=_LINE,
        ),
        row(
            "PATCH",
            lines,
            lambda request, body: carts.patch_lines(
                request.params[0], body, if_match=if_match(request), owner=request.shopper
            ),
            "Set up to 1,000 lines, all or none; quantity 0 removes",
            body=SetLines,
            body_limit=BATCH_BODY_LIMIT,
            parameters=("If-Match",),
            refusals=_LINE,
        ),
        row(
            "PUT",
            line,
            lambda request, body: carts.put_line(
                request.params[0], request.params[1], body, if_match=if_match(request), owner=request.shopper
            ),
            "Set the quantity of a line; 0 removes it",
            body=PutLine,
            parameters=("If-Match",),
            refusals=(*_LINE, "line-not-found"),
        ),
        row(
            "DELETE",
            line,
            lambda request, _body: carts.delete_line(
                request.params[0], request.params[1], if_match=if_match(request), owner=request.shopper
            ),
            "Remove a line",
            parameters=("If-Match",),
            refusals=("cart-not-found", "line-not-found", "cart-closed", "version-mismatch"),
        ),
        row(
            "POST",
            "/v1/carts/{cart_id}/merge",
            lambda request, body: carts.merge(
                request.params[0], body, if_match=if_match(request), owner=request.shopper
            ),
            "Take the lines of another cart and close that one",
            body=MergeCart,
            parameters=("If-Match",),
            refusals=(*_WRITE, "quantity-limit", "cart-full"),
        ),
    )


def product_routes(products: ProductHandlers) -> Sequence[Route]:
    """The catalogue calls."""
    row = _rows("products", criticality="browse", is_public=True, etag=content_tag, headers=_product_caching)
    return (
        row(
            "GET",
            "/v1/products",
            lambda request, _body: products.page(**_page_of(request)),
            "Page through the catalogue, or search it",
            answers="ProductPage",
            parameters=("limit", "cursor", "q", "If-None-Match"),
            refusals=("invalid-body",),
        ),
        row(
            "GET",
            "/v1/products/{sku}",
            lambda request, _body: products.get(Sku(request.params[0])),
            "Read a product with its stock of this moment",
            answers="Product",
            parameters=("If-None-Match",),
            refusals=("product-not-found",),
        ),
    )


def checkout_routes(checkout: CheckoutHandlers) -> Sequence[Route]:
    """The checkout and order calls. Most wait for more than one thing, so they get tasks of their own."""
    order = "/v1/orders/{order_id}"
    row = _rows("orders", criticality="checkout", answers="Order", hot=False)
    return (
        row(
            "POST",
            "/v1/checkout",
            lambda request, body: checkout.place(
                body, idempotency_key=request.headers.get("Idempotency-Key"), owner=request.shopper
            ),
            "Order a cart, once",
            # It runs in a task of its own, which is all that is waited for; so that refusing one is as cheap as others.
            hot=True,
            body=CheckoutRequest,
            inspect=_refuse_card_numbers,
            status=202,
            headers=_placed,
            parameters=("Idempotency-Key",),
            refusals=(
                *("idempotency-key-missing", "idempotency-key-reused", "idempotency-key-in-progress"),
                *("invalid-body", "malformed-json", "card-data-refused", "cart-not-found", "cart-closed", "cart-empty"),
                *("price-changed", "out-of-stock", "total-mismatch", "dependency-unavailable"),
            ),
        ),
        row(
            "GET",
            order,
            lambda request, _body: checkout.read(request.params[0], owner=request.shopper),
            "Read an order",
            hot=True,
            headers=lambda _order, _body: _NO_STORE,
            refusals=("order-not-found",),
        ),
        row(
            "GET",
            order + "/events",
            lambda request, _body: order_events(checkout, request),
            "Follow an order as server-sent events",
            answers="text/event-stream",
            parameters=("Last-Event-ID",),
            refusals=("order-not-found",),
        ),
        row(
            "POST",
            order + "/cancel",
            lambda request, _body: checkout.cancel(request.params[0], owner=request.shopper),
            "Cancel an order that is not on its way yet",
            status=202,
            refusals=("order-not-found", "too-late-to-cancel"),
        ),
    )


def _rows(tag: str, **common: Any) -> Any:
    """A maker of rows that share `common`."""

    def row(method: str, path: str, call: Any, summary: str, **own: Any) -> Route:
        own["refusals"] = (*own["refusals"], *_CALLER)
        return Route(method=method, path=path, call=call, summary=summary, tag=tag, **{**common, **own})

    return row


_NO_STORE: Final = header("Cache-Control", "no-store")
# Prices may be up to a second old behind a browser's or a balancer's cache; they are in force here within two.
_PRODUCT_CACHING: Final = header("Cache-Control", "public, max-age=1")


def _product_caching(_view: object, _body: bytes) -> bytes:
    return _PRODUCT_CACHING


# No cache that shoppers share may keep a cart: its id or its owner's token gives access. The shopper's
# own cache validates each time with the tag, and access is checked before the tags are compared.
_CART_CACHING: Final = header("Cache-Control", "private, no-cache")


def _cart_caching(_view: object, _body: bytes) -> bytes:
    return _CART_CACHING


def _cart_made(view: CartView, _body: bytes) -> bytes:
    return _CART_CACHING + header("Location", f"/v1/carts/{view.cart.id}")


def _refuse_card_numbers(body: bytes) -> None:
    """Only for checkout: elsewhere a SKU may well look like a card number."""
    if contains_card_number(body):
        raise CardDataRefused


def _placed(placed: PlacedOrder, _body: bytes) -> bytes:
    location = header("Location", f"/v1/orders/{placed.order.id}")
    return location + _REPLAYED if placed.replayed else location


_REPLAYED: Final = header("Idempotent-Replayed", "true")
_NUMBER: Final = re.compile(r"\d{1,6}", re.ASCII)


def _page_of(request: Request) -> dict[str, Any]:
    """The query of a page: `limit`, `cursor`, `q`; others are ignored."""
    query = parse_qs(request.query, keep_blank_values=True, errors="surrogateescape")
    limit = query.get("limit", [str(LIMIT_DEFAULT)])[-1]
    if not _NUMBER.fullmatch(limit):
        raise InvalidBody([("/limit", "must be a whole number")])
    return {"limit": int(limit), "cursor": query.get("cursor", [None])[-1], "q": query.get("q", [None])[-1]}

"""The route table: method and path → handler, request body, response. The OpenAPI document is made from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from msgspec import Meta
from multidict import istr

from cart.bodies import AddLine, MergeCart, NewCart, PutCoupon, PutLine, SetLine
from cart.catalog import responses as product_responses
from cart.catalog.handlers import LIMIT_DEFAULT, ProductHandlers
from cart.catalog.model import NO_OPTIONS, PageOptions, ProductPage, ProductView
from cart.catalog.page_options import PARAMETERS as PAGE_PARAMETERS
from cart.catalog.page_options import page_options
from cart.catalog.trending import TrendingHandlers
from cart.errors import InvalidBody
from cart.handlers import CartHandlers
from cart.model import Sku
from cart.responses import Cart as CartBody
from cart.view import CartView
from checkout.cards.search import contains_card_number
from checkout.errors import OrderElsewhere
from checkout.handlers import CheckoutHandlers
from checkout.order import Order
from checkout.order_lists import OrderLists
from checkout.purchase import PlacedOrder
from checkout.quotes import Quote, QuoteHandlers
from checkout.request import CheckoutRequest
from checkout.responses import Order as OrderBody
from checkout.responses import OrderPage
from checkout.responses import Quote as QuoteBody
from gateway.api.binding import Route
from gateway.api.events import EventStreams
from gateway.api.home_calls import ANSWERED_HERE, HomeCalls
from gateway.config.policies import Criticality
from gateway.http.conditions import content_tag, if_match, versioned_tag
from gateway.http.message import Request, Response, header
from gateway.http.own_paths import OWN_PREFIX

# 1,000 lines of the longest SKU, escaped, with their quantities.
BATCH_BODY_LIMIT: Final = 512 * 1024
SetLines = Annotated[list[SetLine], Meta(min_length=1)]

_KEY_PROBLEMS: Final = ("idempotency-key-missing", "idempotency-key-reused")
_WRITE_PROBLEMS: Final = (
    "cart-not-found",
    "cart-closed",
    "version-mismatch",
    "invalid-body",
    "malformed-json",
    *_KEY_PROBLEMS,
)
_LINE_PROBLEMS: Final = (*_WRITE_PROBLEMS, "product-not-found", "quantity-limit", "cart-full")
# Of authentication: an invalid token or key, a denied address; and a card number anywhere in a request.
_CLIENT_PROBLEMS: Final = ("unauthenticated", "forbidden", "card-data-refused")


def cart_routes(carts: CartHandlers, owner_name: Callable[[str], str] = str) -> Sequence[Route]:
    """The cart calls. A signed-in shopper owns the carts they create, and takes over an anonymous cart by merging it.

    Carts know the shopper by `owner_name`, a keyed hash: their stored records name nobody.
    """

    def owner_of(request: Request) -> str | None:
        return None if request.shopper is None else owner_name(request.shopper)

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
            lambda request, body: carts.create(body, owner=owner_of(request)),
            "Create a cart",
            body=NewCart,
            body_is_optional=True,
            status=201,
            headers=_cart_created,
            problems=("invalid-body", "malformed-json"),
        ),
        route(
            "GET",
            "/v1/carts/mine",
            lambda request, _body: carts.read_own(owner=owner_of(request)),
            "Read the signed-in shopper's own cart",
            criticality="cart-read",
            parameters=("If-None-Match",),
            problems=(),
        ),
        route(
            "GET",
            cart,
            lambda request, _body: carts.read(request.params[0], owner=owner_of(request)),
            "Read a cart at current prices",
            criticality="cart-read",
            parameters=("If-None-Match",),
            problems=("cart-not-found",),
        ),
        route(
            "DELETE",
            cart,
            lambda request, _body: carts.delete(
                request.params[0], if_match=if_match(request), owner=owner_of(request), key=_idempotency_key(request)
            ),
            "Delete a cart",
            response=None,
            etag=None,
            status=204,
            parameters=("If-Match", "Idempotency-Key"),
            problems=("cart-not-found", "cart-closed", "version-mismatch", *_KEY_PROBLEMS),
        ),
        route(
            "POST",
            lines,
            lambda request, body: carts.add_line(
                request.params[0],
                body,
                if_match=if_match(request),
                owner=owner_of(request),
                key=_idempotency_key(request),
            ),
            "Add a quantity of a SKU",
            body=AddLine,
            parameters=("If-Match", "Idempotency-Key"),
            problems=_LINE_PROBLEMS,
        ),
        route(
            "PATCH",
            lines,
            lambda request, body: carts.patch_lines(
                request.params[0],
                body,
                if_match=if_match(request),
                owner=owner_of(request),
                key=_idempotency_key(request),
            ),
            "Set up to 1,000 lines, all or none; quantity 0 removes",
            body=SetLines,
            body_limit=BATCH_BODY_LIMIT,
            parameters=("If-Match", "Idempotency-Key"),
            problems=_LINE_PROBLEMS,
        ),
        route(
            "PUT",
            line,
            lambda request, body: carts.put_line(
                request.params[0],
                request.params[1],
                body,
                if_match=if_match(request),
                owner=owner_of(request),
                key=_idempotency_key(request),
            ),
            "Set the quantity of a line; 0 removes it",
            body=PutLine,
            parameters=("If-Match", "Idempotency-Key"),
            problems=(*_LINE_PROBLEMS, "line-not-found"),
        ),
        route(
            "POST",
            f"{line}/hold",
            lambda request, _body: carts.extend_hold(request.params[0], request.params[1], owner=owner_of(request)),
            "Extend the time for which the units of a line are held, once",
            problems=("cart-not-found", "line-not-found", "cart-closed", "hold-not-extendable"),
        ),
        route(
            "DELETE",
            line,
            lambda request, _body: carts.delete_line(
                request.params[0],
                request.params[1],
                if_match=if_match(request),
                owner=owner_of(request),
                key=_idempotency_key(request),
            ),
            "Remove a line",
            parameters=("If-Match", "Idempotency-Key"),
            problems=("cart-not-found", "line-not-found", "cart-closed", "version-mismatch", *_KEY_PROBLEMS),
        ),
        route(
            "PUT",
            "/v1/carts/{cart_id}/coupon",
            lambda request, body: carts.put_coupon(
                request.params[0],
                body,
                if_match=if_match(request),
                owner=owner_of(request),
                key=_idempotency_key(request),
            ),
            "Give the cart a coupon, in place of one that it has",
            body=PutCoupon,
            parameters=("If-Match", "Idempotency-Key"),
            problems=(*_WRITE_PROBLEMS, "coupon-refused", "cart-full"),
        ),
        route(
            "DELETE",
            "/v1/carts/{cart_id}/coupon",
            lambda request, _body: carts.delete_coupon(
                request.params[0], if_match=if_match(request), owner=owner_of(request), key=_idempotency_key(request)
            ),
            "Take the coupon from the cart, if it has one",
            parameters=("If-Match", "Idempotency-Key"),
            problems=("cart-not-found", "cart-closed", "version-mismatch", *_KEY_PROBLEMS),
        ),
        route(
            "POST",
            "/v1/carts/{cart_id}/merge",
            lambda request, body: carts.merge(
                request.params[0],
                body,
                if_match=if_match(request),
                owner=owner_of(request),
                key=_idempotency_key(request),
            ),
            "Merge another cart into this one and close the other",
            body=MergeCart,
            parameters=("If-Match", "Idempotency-Key"),
            problems=(*_WRITE_PROBLEMS, "quantity-limit", "cart-full"),
        ),
    )


def product_routes(
    products: ProductHandlers, *, currency: str = "GBP", is_search_remote: bool = False
) -> Sequence[Route]:
    """The catalogue calls. A price range is in `currency` where a request names no other one.

    A page whose search `is_search_remote`, over HTTP, needs a task of its own.
    """

    def page(request: Request, _body: None) -> Awaitable[ProductPage]:
        query = _parsed(request)
        return products.page(**_page_texts(query, "limit", "cursor", "q"), options=_page_options(query, currency))

    route = _product_route("browse")
    return (
        route(
            "GET",
            "/v1/products",
            page,
            "List or search products",
            hot=not is_search_remote,
            response=product_responses.ProductPage,
            parameters=("limit", "cursor", "q", *PAGE_PARAMETERS, "If-None-Match"),
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


def trending_routes(trending: TrendingHandlers, *, currency: str = "GBP") -> Sequence[Route]:
    """The call for trending products."""

    def page(request: Request, _body: None) -> Awaitable[ProductPage]:
        query = _parsed(request)
        return trending.page(**_page_texts(query, "limit"), options=_page_options(query, currency))

    # The first to go in an overload: it pauses itself even before the others of this criticality are shed.
    route = _product_route("optional")
    return (
        route(
            "GET",
            "/v1/products/trending",
            page,
            "List the products that are ordered most of late",
            response=product_responses.ProductPage,
            parameters=("limit", *PAGE_PARAMETERS, "If-None-Match"),
            problems=("invalid-body", "disabled"),
        ),
    )


def _product_route(criticality: Criticality) -> Any:
    return _with_defaults(
        "products", criticality=criticality, is_public=True, etag=content_tag, headers=_product_caching
    )


def checkout_routes(
    checkout: CheckoutHandlers, lists: OrderLists, streams: EventStreams, *, home_calls: HomeCalls = ANSWERED_HERE
) -> Sequence[Route]:
    """The checkout and order calls. Most await more than one reply, so they run in tasks of their own."""

    async def read(request: Request, _body: None) -> Order | Response:
        found = await checkout.read(request.params[0], owner=request.shopper)
        # Nearly every order is here: another coroutine would cost each read of one.
        return found if found.home is None else await home_calls.read(request, found) or found

    async def cancel(request: Request, _body: None) -> Order | Response:
        try:
            return await checkout.cancel(request.params[0], owner=request.shopper)
        except OrderElsewhere as elsewhere:
            return await home_calls.change(request, elsewhere)

    order = "/v1/orders/{order_id}"
    route = _with_defaults("orders", criticality="checkout", response=OrderBody, hot=False)
    return (
        route(
            "POST",
            "/v1/checkout",
            lambda request, body: checkout.place(
                body, idempotency_key=_idempotency_key(request), owner=request.shopper
            ),
            "Check out a cart, once",
            # The handler starts a task of its own, so that rejecting a checkout is as cheap as rejecting any other request.
            hot=True,
            body=CheckoutRequest,
            # Numbers of any issuer: a shopper types neither SKUs nor searches here.
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
                "shopper-limit",
                "coupon-refused",
                "shipping-not-offered",
                "total-mismatch",
                "dependency-unavailable",
            ),
        ),
        route(
            "GET",
            "/v1/orders",
            lambda request, _body: lists.of_owner(request.shopper, **_page_query(request, "limit", "cursor")),
            "List the orders of the signed-in shopper",
            response=OrderPage,
            headers=lambda _page, _body: _NO_STORE,
            parameters=("limit", "cursor"),
            problems=("invalid-body",),
        ),
        route(
            "GET",
            order,
            read,
            "Read an order",
            hot=True,
            headers=lambda _order, _body: _NO_STORE,
            problems=("order-not-found",),
        ),
        route(
            "GET",
            order + "/events",
            lambda request, _body: streams.open(request),
            "Follow an order as server-sent events",
            # A shopper who does not follow the order still reads it.
            criticality="optional",
            response=None,
            media_type="text/event-stream",
            parameters=("until", "Last-Event-ID"),
            problems=("order-not-found", "invalid-body"),
        ),
        route(
            "POST",
            order + "/cancel",
            cancel,
            "Cancel an order that has not been shipped",
            status=202,
            problems=("order-not-found", "order-elsewhere", "too-late-to-cancel", "dependency-unavailable"),
        ),
    )


def quote_routes(quotes: QuoteHandlers, owner_name: Callable[[str], str] = str) -> Sequence[Route]:
    """The call for the price of an order of a cart."""

    def quote(request: Request, _body: None) -> Awaitable[Quote]:
        query = _parsed(request)
        texts = {name: query[name][-1] for name in ("country", "shipping_method") if name in query}
        if "country" not in texts:
            raise InvalidBody([("/country", "is missing")])
        owner = None if request.shopper is None else owner_name(request.shopper)
        return quotes.quote(request.params[0], **texts, owner=owner)

    route = _with_defaults("orders", criticality="cart-read")
    return (
        route(
            "GET",
            "/v1/carts/{cart_id}/quote",
            quote,
            "Quote an order of the cart, with its shipping methods and taxes",
            response=QuoteBody,
            headers=lambda _quote, _body: _NO_STORE,
            parameters=("country", "shipping_method"),
            problems=(
                "invalid-body",
                "cart-not-found",
                "cart-closed",
                "cart-empty",
                "out-of-stock",
                "shipping-not-offered",
            ),
        ),
    )


def _with_defaults(tag: str, **defaults: Any) -> Any:
    """`Route` with these defaults."""

    def route(method: str, path: str, call: Any, summary: str, **options: Any) -> Route:
        options["problems"] = (*options["problems"], *_CLIENT_PROBLEMS)
        return Route(method=method, path=path, call=call, summary=summary, tag=tag, **{**defaults, **options})

    return route


# `istr` has its comparable form ready: a look-up costs half.
_IDEMPOTENCY_KEY: Final = istr("Idempotency-Key")


def _idempotency_key(request: Request) -> str | None:
    return request.headers.get(_IDEMPOTENCY_KEY)


_NO_STORE: Final = header("Cache-Control", "no-store")
# A browser's or balancer's cache adds up to a second to the two seconds within which new prices are effective here.
_PRODUCT_CACHING: Final = header("Cache-Control", "public, max-age=1")


# Nothing serves a price beyond its scheduled end: not a cache that may serve stale responses, nor in the second before it.
_CHANGING_CACHING: Final = header("Cache-Control", "public, max-age=1, must-revalidate")
_LAST_CACHING: Final = header("Cache-Control", "public, max-age=0, must-revalidate")
# The second of a response, and one for its way.
_LAST_MS: Final = 2000


def _product_caching(view: ProductView | ProductPage, _body: bytes) -> bytes:
    left_ms = view.price_left_ms
    if left_ms is None:
        return _PRODUCT_CACHING
    return _LAST_CACHING if left_ms < _LAST_MS else _CHANGING_CACHING


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


_OPTIONS: Final = frozenset(PAGE_PARAMETERS)


def _parsed(request: Request) -> Mapping[str, list[Any]]:
    return parse_qs(request.query, keep_blank_values=True, errors="surrogateescape")


def _page_options(query: Mapping[str, list[Any]], currency: str) -> PageOptions:
    # Most requests have none of them.
    if _OPTIONS.isdisjoint(query):
        return NO_OPTIONS
    return page_options({name: query.get(name, [None])[-1] for name in PAGE_PARAMETERS}, currency=currency)


def _page_query(request: Request, *names: str) -> dict[str, Any]:
    return _page_texts(_parsed(request), *names)


def _page_texts(query: Mapping[str, list[Any]], *names: str) -> dict[str, Any]:
    """The query parameters of these names, `limit` among them, which is a number; others are ignored."""
    limit = query.get("limit", [str(LIMIT_DEFAULT)])[-1]
    if not _NUMBER.fullmatch(limit):
        raise InvalidBody([("/limit", "must be a whole number")])
    return {name: query.get(name, [None])[-1] for name in names} | {"limit": int(limit)}

"""Examples in the OpenAPI document. They are of the sample shop, so that each request works as it is.

A test decodes each request body by the type of its route, and validates each response against its schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import orjson

from cart import errors as cart
from cart.catalog import responses as product_responses
from cart.coupons import CouponFault
from cart.errors import Refusal
from cart.model import Money, OrderId, Sku
from cart.responses import Cart as CartBody
from cart.responses import CartLine, CartLineWarning, Discount, LineHold, RefusedCoupon
from checkout import errors as checkout
from checkout.order_number import order_number
from checkout.order_status import OrderStatus
from checkout.request import ExpectedTotal
from checkout.responses import Order as OrderBody
from checkout.responses import OrderEvent, OrderLine, OrderPage, Quote, Shipment, ShippingAddress, ShippingOption, Tax
from gateway.api.binding import Route
from gateway.api.health import Build, Health, Readiness, WorkerHealth
from gateway.build import MODE, VERSION
from gateway.http import problems
from gateway.http.problem_body import BodyFault, ProblemLine
from gateway.http.problems import Problem

_CART_ID: Final = "7fmzxw6ylqnb2k3tgcvd5hsr4a"
_ORDER_ID: Final = "7fzqk3d5wmx2anbt6hcvr4ylse"
_SKU: Final = "85123A"
_NAME: Final = "WHITE HANGING HEART T-LIGHT HOLDER"
_PRICE: Final = Money(295, "GBP")
_TOTAL: Final = Money(590, "GBP")
_TIME: Final = "2026-11-27T06:00:00.000Z"
_PRODUCT: Final = product_responses.Product(sku=_SKU, name=_NAME, price=_PRICE, in_stock=True, stock=3640)
_LISTED: Final = product_responses.ListedProduct(sku=_SKU, name=_NAME, price=_PRICE, in_stock=True, stock=3640)
_ORDER: Final = OrderBody(
    id=_ORDER_ID,
    number=order_number(OrderId(_ORDER_ID)),
    cart_id=_CART_ID,
    status=OrderStatus.ACCEPTED,
    lines=[OrderLine(sku=_SKU, name=_NAME, quantity=2, unit_price=_PRICE, total=_TOTAL)],
    subtotal=_TOTAL,
    discounts=[],
    shipping=Money(0, "GBP"),
    total=_TOTAL,
    email="ada@example.com",
    shipping_address=ShippingAddress(
        name="Ada Lovelace", line1="12 St James's Square", city="London", postcode="SW1Y 4JH", country="GB"
    ),
    created_at=_TIME,
    updated_at=_TIME,
    history=[OrderEvent(OrderStatus.ACCEPTED, _TIME)],
)
_LATER: Final = "2026-11-27T06:00:02.000Z"
_REFUNDED_AT: Final = "2026-12-03T15:20:00.000Z"
# Shipped, and a part of it refunded.
_SHIPPED: Final = msgspec.structs.replace(
    _ORDER,
    status=OrderStatus.SHIPPED,
    refunded=_PRICE,
    shipment=Shipment(
        reference="shp_01HZX3",
        carrier="Royal Mail",
        tracking_number="AB123456789GB",
        tracking_url="https://track.example/AB123456789GB",
    ),
    updated_at=_REFUNDED_AT,
    history=[
        OrderEvent(OrderStatus.ACCEPTED, _TIME),
        OrderEvent(OrderStatus.STOCK_CONFIRMED, _LATER),
        OrderEvent(OrderStatus.PAYMENT_AUTHORISED, _LATER),
        OrderEvent(OrderStatus.SHIPPING_ARRANGED, _LATER),
        OrderEvent(OrderStatus.COMPLETED, _LATER),
        OrderEvent(OrderStatus.SHIPPED, "2026-11-27T14:30:00.000Z"),
        OrderEvent(OrderStatus.SHIPPED, _REFUNDED_AT, detail="one was broken", refunded=_PRICE),
    ],
)

PARAMETERS: Final[Mapping[str, str]] = {"sku": _SKU, "cart_id": _CART_ID, "order_id": _ORDER_ID}
# A stream of server-sent events.
EVENTS: Final = f'id: 1\ndata: {{"status":"accepted","at":"{_TIME}"}}\n\n'

# By the name of the route.
BODIES: Final[Mapping[str, Any]] = {
    "POST /v1/carts": {"currency": "GBP"},
    "POST /v1/carts/{cart_id}/lines": {"sku": _SKU, "quantity": 2},
    "PATCH /v1/carts/{cart_id}/lines": [{"sku": _SKU, "quantity": 6}, {"sku": "22423", "quantity": 1}],
    "PUT /v1/carts/{cart_id}/lines/{sku}": {"quantity": 3},
    "PUT /v1/carts/{cart_id}/coupon": {"code": "SUMMER10"},
    "POST /v1/carts/{cart_id}/merge": {"from": "2ckq7xw5mzt3anbd6hvr4ylsef", "strategy": "sum"},
    "POST /v1/checkout": {
        "cart_id": _CART_ID,
        "email": "ada@example.com",
        "shipping_address": {
            "name": "Ada Lovelace",
            "line1": "12 St James's Square",
            "city": "London",
            "postcode": "SW1Y 4JH",
            "country": "GB",
        },
        "payment": {"token": "tok_ok"},
    },
    "POST /v1/webhooks/payment": {
        "type": "payment.captured",
        "order_id": _ORDER_ID,
        "at": "2026-11-27T14:30:00Z",
        "amount": 1005,
        "reference": "pay_01HZX3",
    },
    "POST /v1/webhooks/shipping": {
        "order_id": _ORDER_ID,
        "status": "shipped",
        "at": "2026-11-27T14:30:00Z",
        "carrier": "Royal Mail",
        "tracking_number": "AB123456789GB",
        "tracking_url": "https://track.example/AB123456789GB",
    },
}

# By the struct of the response.
RESPONSES: Final[Mapping[type, msgspec.Struct]] = {
    CartBody: CartBody(
        id=_CART_ID,
        version=2,
        currency="GBP",
        status="open",
        lines=[CartLine(sku=_SKU, name=_NAME, quantity=2, unit_price=_PRICE, total=_TOTAL)],
        item_count=2,
        subtotal=_TOTAL,
        discounts=[],
        total=_TOTAL,
        created_at=_TIME,
        updated_at=_TIME,
        expires_at="2026-12-27T06:00:00.000Z",
    ),
    product_responses.Product: _PRODUCT,
    product_responses.ProductPage: product_responses.ProductPage([_LISTED], None),
    OrderBody: _ORDER,
    Quote: Quote(
        cart_id=_CART_ID,
        lines=[
            OrderLine(
                sku=_SKU,
                name=_NAME,
                quantity=2,
                unit_price=_PRICE,
                total=_TOTAL,
                discount=Money(59, "GBP"),
                tax=Money(88, "GBP"),
                tax_rate="20",
            )
        ],
        subtotal=_TOTAL,
        discounts=[Discount("SUMMER10", "Summer: 10 % off", Money(59, "GBP"))],
        shipping_methods=[
            ShippingOption("standard", "Standard", Money(395, "GBP")),
            ShippingOption("express", "Tomorrow", Money(695, "GBP")),
        ],
        shipping_method="standard",
        shipping=Money(395, "GBP"),
        tax=Tax(Money(154, "GBP"), Money(66, "GBP"), included=True),
        total=Money(926, "GBP"),
    ),
    OrderPage: OrderPage([_SHIPPED, _ORDER], None),
    Health: Health("ok"),
    Readiness: Readiness(
        status="ready",
        build=Build(VERSION, MODE),
        checks={"store": "ok"},
        breakers={"store": "closed"},
        background={},
        worker=WorkerHealth(4711, {"200": 1204}),
    ),
}

_CHANGED: Final = CartLineWarning("price-changed", Money(255, "GBP"))
_HOLD: Final = LineHold(2, "2026-11-27T06:10:00.000Z", can_extend=True, ends_soon=False)
_REFUSED_COUPON: Final = RefusedCoupon("SUMMER10", CouponFault.BELOW_MINIMUM)
_PROBLEM_ERROR: Final = BodyFault("/quantity", "must be an integer of at least 1")
_PROBLEM_LINES: Final = (ProblemLine(_SKU, requested=2, available=1), ExpectedTotal(590, "GBP"))
_NEW_TOTAL: Final = Money(620, "GBP")
_REFUSALS: Final[tuple[Refusal, ...]] = (
    cart.InvalidBody([("/quantity", "must be an integer of at least 1")]),
    cart.LineNotFound(_SKU),
    cart.ProductNotFound(_SKU),
    cart.CartFull(1000),
    cart.QuantityLimit(10_000),
    cart.HoldNotExtendable(),
    cart.VersionMismatch(3),
    cart.CartClosed(_ORDER_ID),
    cart.IdempotencyKeyMissing("Send an Idempotency-Key header, and the same one when you retry this checkout."),
    checkout.PriceChanged([checkout.ChangedPrice(Sku(_SKU), Money(295, "GBP"), Money(310, "GBP"))], _NEW_TOTAL),
    checkout.OutOfStock([checkout.Shortage(Sku(_SKU), requested=2, available=1)]),
    checkout.ShopperLimit([checkout.OverLimit(Sku(_SKU), requested=3, remaining=1)]),
    cart.CouponRefused("SUMMER10", CouponFault.BELOW_MINIMUM, _NEW_TOTAL),
    checkout.ShippingNotOffered("express", ["standard"]),
    checkout.TotalMismatch(_NEW_TOTAL),
    checkout.CancelTooLate("shipping_arranged"),
    checkout.OrderElsewhere("us-east-1"),
    checkout.WebhookNotSigned("no signature matches"),
)
# The members that layers add to their rejections, by slug.
FACTS_OF_LAYERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "malformed-json": {"errors": [{"pointer": "", "detail": "is not JSON at byte 11"}]},
    "quota-exceeded": {"violated-policies": ["per-address"]},
    "waiting-room": {"position": 118, "eta_seconds": 40, "token": "eyJxIjoiZHJvcCJ9.c2lnbmF0dXJl"},
    "sold-out": {"position": 118, "eta_seconds": None, "token": None},
    "dependency-unavailable": problems.TIMED_OUT_FACTS,
}
_REFUSAL_OF: Final = {type(error): error for error in _REFUSALS}


def of_problem(row: Problem, *, of_write: bool = True) -> dict[str, Any]:
    """An example response body of a problem, with its facts: in the response to a write, or to a read."""
    kind = next((kind for kind, known in problems.REFUSALS.items() if known is row), None)
    facts = row.members(_REFUSAL_OF[kind]) if kind in _REFUSAL_OF else FACTS_OF_LAYERS.get(row.slug)
    if not of_write and facts and problems.MAY_HAVE_RUN in facts:
        facts = None
    body: dict[str, Any] = orjson.loads(problems.response(row, "4f0c2a7e9b31d586", facts).body)
    return body


def of_schemas(routes: Iterable[Route]) -> dict[str, Any]:
    """An example of every struct in the examples of bodies and responses, by its name."""
    found: dict[str, Any] = {"Problem": of_problem(problems.REFUSALS[cart.InvalidBody])}
    for route in routes:
        if route.response in RESPONSES:
            _collect(RESPONSES[route.response], found)
        if route.body is not None and route.name in BODIES:
            _collect(msgspec.convert(BODIES[route.name], route.body), found)
    for warning in (_CHANGED, _HOLD, _REFUSED_COUPON, _PROBLEM_ERROR, *_PROBLEM_LINES):
        _collect(warning, found)
    return found


def _collect(value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, msgspec.Struct):
        found.setdefault(type(value).__name__, msgspec.to_builtins(value))
        for name in value.__struct_fields__:
            _collect(getattr(value, name), found)
    elif isinstance(value, list):
        for each in value:
            _collect(each, found)

"""What an invalid body gets: pointers to the very members, in words that need no Python."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

from gateway.api import examples
from gateway.api.binding import Route
from gateway.api.routes import cart_routes, checkout_routes, product_routes
from tests.integration.gateway.shop_server import MUG, ShopServer, shop_server
from tests.raw_http import RawResponse

NO_HANDLERS = cast(Any, None)
WITH_BODY: list[Route] = [
    route
    for route in (*cart_routes(NO_HANDLERS), *checkout_routes(NO_HANDLERS, NO_HANDLERS, NO_HANDLERS))
    if route.body is not None
]
# Words of Python and of its libraries.
PYTHON = re.compile(
    r"`|\b(int|str|float|bool|dict|list|tuple|None|NoneType|Expected|got|Object|field|regex|codec|enum|msgspec"
    r"|recursion|Traceback|Error|Struct|length)\b"
)
WRONG: list[Any] = [
    None,
    True,
    7,
    -1,
    1.5,
    10**30,
    "",
    "x" * 300,
    [],
    {},
    ["x"],
    {"x": 1},
    "\ud7ff\n",
]


@pytest.fixture
async def shop() -> AsyncIterator[ShopServer]:
    async with shop_server() as shop:
        yield shop


def changes(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The value with one part removed, replaced or added, and where."""
    members: list[Any] = (
        list(value) if isinstance(value, dict) else list(range(len(value) if isinstance(value, list) else 0))
    )
    for name in members:
        if isinstance(value, dict):
            yield (*place, name), {other: each for other, each in value.items() if other != name}
        for wrong in WRONG:
            yield (*place, name), _with(value, name, wrong)
        for at, changed in changes(value[name], (*place, name)):
            yield at, _with(value, name, changed)
    if isinstance(value, dict):
        yield (*place, "a/b~c"), {**value, "a/b~c": 1}


def _with(value: Any, name: Any, new: Any) -> Any:
    if isinstance(value, dict):
        return {**value, name: new}
    return [new if at == name else each for at, each in enumerate(value)]


def pointer(place: tuple[str | int, ...]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in place)


def texts(response: RawResponse) -> str:
    errors = response.json().get("errors", [])
    return " ".join([response.json()["detail"].replace("`", ""), *(error["detail"] for error in errors)])


async def send(shop: ShopServer, route: Route, cart_id: str, body: Any) -> RawResponse:
    path = route.path.format(cart_id=cart_id, sku=MUG)
    return await shop.call(route.method, path, body, "Idempotency-Key: once")


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
async def test_an_error_points_to_the_member_in_plain_words(shop: ShopServer, route: Route) -> None:
    cart_id = await shop.cart_of()
    seen = 0
    for place, body in changes(examples.BODIES[route.name]):
        response = await send(shop, route, cart_id, json.dumps(body).encode())
        if response.status < 400 or response.problem != "invalid-body":
            continue
        seen += 1
        at, errors = pointer(place), response.json()["errors"]
        assert any(error["pointer"].startswith(at) for error in errors), (place, body, errors)
        assert not PYTHON.search(texts(response)), errors
    assert seen > 5


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
@pytest.mark.parametrize(
    "body",
    [b"null", b"[]", b"{}", b"7", b'"x"', b"", b"{", b"\xff", b'{"a":"\xff"}', b'{"a" 1}', b"[" * 5000, b"[{}] x"],
)
async def test_a_body_that_is_no_json_or_of_another_kind_gets_plain_words(
    shop: ShopServer, route: Route, body: bytes
) -> None:
    response = await send(shop, route, await shop.cart_of(), body)
    assert response.status in {201, 400, 422}
    if response.status != 201:
        assert not PYTHON.search(texts(response)), response.json()


@pytest.mark.parametrize(
    ("body", "at", "detail"),
    [
        ({"quantity": 1}, "/sku", "is missing"),
        ({"sku": 1, "quantity": 1}, "/sku", "must be a string"),
        ({"sku": "", "quantity": 1}, "/sku", "must have at least 1 character"),
        ({"sku": "A", "quantity": "2"}, "/quantity", "must be an integer"),
        ({"sku": "A", "quantity": 1.5}, "/quantity", "must be an integer"),
        ({"sku": "A", "quantity": 0}, "/quantity", "must be an integer of at least 1"),
        ({"sku": "A", "quantity": 1, "size": 2}, "/size", "is not a member of this object"),
        ([], "", "must be an object"),
    ],
)
async def test_each_fault_has_its_words(shop: ShopServer, body: Any, at: str, detail: str) -> None:
    response = await shop.call("POST", f"/v1/carts/{await shop.cart_of()}/lines", body)
    assert response.json()["errors"] == [{"pointer": at, "detail": detail}]


async def test_a_missing_member_is_named_with_its_parents(shop: ShopServer) -> None:
    address = {"name": "Ada", "line1": "1 Row", "postcode": "N1", "country": "GB"}
    response = await shop.check_out(await shop.cart_of(), shipping_address=address)
    assert response.json()["errors"] == [{"pointer": "/shipping_address/city", "detail": "is missing"}]


async def test_an_enumeration_is_listed(shop: ShopServer) -> None:
    cart_id = await shop.cart_of()
    response = await shop.call("POST", f"/v1/carts/{cart_id}/merge", {"from": cart_id, "strategy": "add"})
    assert response.json()["errors"] == [{"pointer": "/strategy", "detail": "must be one of: keep, max, sum"}]


@pytest.mark.parametrize("currency", ["ZZZ", "gbp", "XXX", "GB", "DEM", "", "£", "GBPS"])
async def test_a_currency_that_does_not_exist_is_refused(shop: ShopServer, currency: str) -> None:
    response = await shop.call("POST", "/v1/carts", {"currency": currency})
    wanted = {"pointer": "/currency", "detail": "must be a currency code of ISO 4217, such as GBP"}
    assert (response.status, response.json()["errors"]) == (422, [wanted])
    total = {"amount": 255, "currency": currency}
    response = await shop.check_out(await shop.cart_of(), expected_total=total)
    assert [error["pointer"] for error in response.json()["errors"]] == ["/expected_total/currency"]


@pytest.mark.parametrize("country", ["ZZ", "UK", "XX", "EU", "gbr", "G", "1A"])
async def test_a_country_that_does_not_exist_is_refused(shop: ShopServer, country: str) -> None:
    address = {"name": "Ada", "line1": "1 Row", "city": "London", "postcode": "N1", "country": country}
    response = await shop.check_out(await shop.cart_of(), shipping_address=address)
    assert [error["pointer"] for error in response.json()["errors"]] == ["/shipping_address/country"]


@pytest.mark.parametrize(
    ("query", "at"), [("limit=0", "/limit"), ("limit=x", "/limit"), ("cursor=x", "/cursor"), ("q=" + "x" * 300, "/q")]
)
async def test_a_query_is_refused_in_plain_words(shop: ShopServer, query: str, at: str) -> None:
    assert product_routes(NO_HANDLERS)
    response = await shop.call("GET", f"/v1/products?{query}")
    assert [error["pointer"] for error in response.json()["errors"]] == [at]
    assert not PYTHON.search(texts(response).replace("next_cursor", ""))

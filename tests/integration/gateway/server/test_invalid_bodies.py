"""Bodies that are no JSON, or not what the call asks for: 400 or 422, with the place of the fault, never a 500."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.integration.gateway.shop_server import BOX, MUG, ShopServer, shop_server

MALFORMED = {
    "nothing": b"",
    "a space": b" ",
    "half an object": b"{",
    "no json": b"sku=85123A&quantity=1",
    "javascript": b"{sku:'85123A',quantity:1}",
    "a comma too much": b'{"sku":"85123A","quantity":1,}',
    "something behind": b'{"sku":"85123A","quantity":1}{}',
    "not a number": b'{"sku":"85123A","quantity":NaN}',
    "infinity": b'{"sku":"85123A","quantity":-Infinity}',
    "a leading zero": b'{"sku":"85123A","quantity":01}',
    "a plus": b'{"sku":"85123A","quantity":+1}',
    "a hex number": b'{"sku":"85123A","quantity":0x1}',
    "deep arrays": b"[" * 60_000,
    "deep objects": b'{"sku":' * 9_000,
    "a deep unknown member": b'{"sku":"85123A","quantity":1,"x":' + b"[" * 50_000 + b"]" * 5_000 + b"}",
    "utf-16": '{"sku":"85123A","quantity":1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"sku":"85123A","quantity":1}',
    "invalid utf-8": b'{"sku":"\xff\xfe","quantity":1}',
    "overlong utf-8": b'{"sku":"\xc0\x80","quantity":1}',
    "half a surrogate": b'{"sku":"\\ud800","quantity":1}',
    "a control character": b'{"sku":"a\nb","quantity":1}',
    "binary": bytes(range(256)),
}
INVALID = {
    "an array": (b"[]", ""),
    "a string": (b'"85123A"', ""),
    "null": (b"null", ""),
    "a number": (b"1", ""),
    "no member": (b"{}", "/sku"),
    "a member missing": (b'{"sku":"85123A"}', "/quantity"),
    "a member nobody knows": (b'{"sku":"85123A","quantity":1,"colour":"red"}', "/colour"),
    "a sku that is a number": (b'{"sku":85123,"quantity":1}', "/sku"),
    "a sku that is empty": (b'{"sku":"","quantity":1}', "/sku"),
    "a sku too long": (b'{"sku":"' + b"x" * 65 + b'","quantity":1}', "/sku"),
    "a sku too long in bytes": ('{"sku":"' + "é" * 33 + '","quantity":1}', "/sku"),
    "a sku that cannot be printed": (b'{"sku":"a\\u0000b","quantity":1}', "/sku"),
    "a quantity that is text": (b'{"sku":"85123A","quantity":"1"}', "/quantity"),
    "a quantity that is half": (b'{"sku":"85123A","quantity":1.5}', "/quantity"),
    "a quantity that is null": (b'{"sku":"85123A","quantity":null}', "/quantity"),
    "a quantity that is true": (b'{"sku":"85123A","quantity":true}', "/quantity"),
    "a quantity of none": (b'{"sku":"85123A","quantity":0}', "/quantity"),
    "a quantity below none": (b'{"sku":"85123A","quantity":-1}', "/quantity"),
}
HUGE = {
    "beyond the limit": b"10001",
    "beyond 32 bits": b"4294967297",
    "beyond 53 bits": b"9007199254740993",
    "beyond 63 bits": b"9223372036854775808",
    "beyond 64 bits": b"18446744073709551617",
    "beyond all": b"9" * 5_000,
    "beyond all, as a float": b"1e999",
    "as a float": b"1e9",
}


@pytest.fixture
async def shop(caplog: pytest.LogCaptureFixture) -> AsyncIterator[ShopServer]:
    async with shop_server() as shop:
        yield shop
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def lines_of(shop: ShopServer) -> str:
    return f"/v1/carts/{(await shop.call('POST', '/v1/carts')).json()['id']}/lines"


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_body_that_is_not_json_is_400(shop: ShopServer, body: bytes) -> None:
    response = await shop.call("POST", await lines_of(shop), body)
    assert (response.status, response.problem) == (400, "malformed-json")
    (fault,) = response.json()["errors"]
    assert fault["pointer"] == ""
    assert fault["detail"]


@pytest.mark.parametrize(("body", "pointer"), INVALID.values(), ids=INVALID.keys())
async def test_json_of_another_form_is_422_with_a_pointer(shop: ShopServer, body: bytes | str, pointer: str) -> None:
    sent = body.encode() if isinstance(body, str) else body
    response = await shop.call("POST", await lines_of(shop), sent)
    assert (response.status, response.problem) == (422, "invalid-body")
    (fault,) = response.json()["errors"]
    assert fault["pointer"] == pointer
    assert fault["detail"]


@pytest.mark.parametrize("quantity", HUGE.values(), ids=HUGE.keys())
async def test_a_huge_number_is_422(shop: ShopServer, quantity: bytes) -> None:
    lines = await lines_of(shop)
    for method, path, body in [
        ("POST", lines, b'{"sku":"85123A","quantity":%b}' % quantity),
        ("PUT", lines + "/85123A", b'{"quantity":%b}' % quantity),
        ("PATCH", lines, b'[{"sku":"85123A","quantity":%b}]' % quantity),
    ]:
        response = await shop.call(method, path, body)
        assert response.status in {400, 422}, (method, response)
        assert response.problem in {"malformed-json", "invalid-body", "quantity-limit"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({}, ""),
        ([[]], "/0"),
        ([{"sku": MUG, "quantity": 1}, {"sku": MUG}], "/1/quantity"),
        ([{"sku": MUG, "quantity": 1}, {"sku": 7, "quantity": 1}], "/1/sku"),
        ([{"sku": MUG, "quantity": 1}] * 12 + [{"sku": MUG, "quantity": -1}], "/12/quantity"),
    ],
)
async def test_an_error_in_a_batch_has_its_pointer(shop: ShopServer, body: object, pointer: str) -> None:
    response = await shop.call("PATCH", await lines_of(shop), orjson.dumps(body))
    assert (response.status, response.problem) == (422, "invalid-body")
    assert response.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"shipping_address": None}, "/shipping_address"),
        ({"shipping_address": {"name": "Ada"}}, "/shipping_address/line1"),
        ({"payment": {"token": 7}}, "/payment/token"),
        ({"expected_total": {"amount": "2.55", "currency": "GBP"}}, "/expected_total/amount"),
        ({"expected_total": 255}, "/expected_total"),
        ({"email": ["a@b.c"]}, "/email"),
    ],
)
async def test_an_error_in_a_checkout_has_its_pointer(shop: ShopServer, changes: dict[str, Any], pointer: str) -> None:
    response = await shop.check_out(await shop.cart_of(), **changes)
    assert (response.status, response.problem) == (422, "invalid-body")
    assert response.json()["errors"][0]["pointer"] == pointer


async def test_the_last_of_two_equal_members_counts(shop: ShopServer) -> None:
    body = orjson.dumps({"sku": MUG, "quantity": 1}).replace(b'"quantity"', b'"sku":"%b","quantity"' % BOX.encode())
    response = await shop.call("POST", await lines_of(shop), body)
    assert [line["sku"] for line in response.json()["lines"]] == [BOX]


async def test_a_cart_may_be_made_with_no_body_at_all(shop: ShopServer) -> None:
    assert (await shop.call("POST", "/v1/carts")).status == 201
    assert (await shop.call("POST", "/v1/carts", b"")).status == 201
    assert (await shop.call("POST", "/v1/carts", b"{}")).status == 201
    assert (await shop.call("POST", "/v1/carts", b"[]")).status == 422
    assert (await shop.call("POST", "/v1/carts", b"{")).status == 400


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("Application/JSON", 201),
        ("application/merge-patch+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/xml", 415),
        ("application/jsonx", 415),
        ("", 415),
    ],
)
async def test_a_body_must_say_that_it_is_json_or_nothing(shop: ShopServer, media_type: str, status: int) -> None:
    body = b'{"currency":"GBP"}'
    sent = f"POST /v1/carts HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(body)}\r\nContent-Type: {media_type}\r\n\r\n"
    async with await shop.client() as client:
        response = await client.request(sent.encode() + body)
        assert response.status == status
        if status == 415:
            assert response.problem == "unsupported-media-type"


async def test_a_batch_of_a_thousand_of_the_longest_skus_fits(shop: ShopServer) -> None:
    for n in range(1000):
        await shop.price(f"{n:064}", 100)
    lines = [{"sku": f"{n:064}", "quantity": 10_000} for n in range(1000)]
    response = await shop.call("PATCH", await lines_of(shop), lines)
    assert response.status == 200
    assert len(response.json()["lines"]) == 1000


async def test_a_batch_beyond_its_limit_is_413(shop: ShopServer) -> None:
    response = await shop.call("PATCH", await lines_of(shop), b"[" + b" " * 600_000 + b"]")
    assert (response.status, response.problem) == (413, "body-too-large")


@pytest.mark.parametrize(
    "query",
    [
        "limit=",
        "limit=x",
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=1.5",
        "limit=%D9%A3",
        "limit=" + "9" * 5000,
        "cursor=nonsense",
        "cursor=%00",
        "cursor=%FF",
        "q=" + "x" * 257,
        "q=%FF%FE",
    ],
)
async def test_a_query_that_is_wrong_is_422_and_says_where(shop: ShopServer, query: str) -> None:
    response = await shop.call("GET", f"/v1/products?{query}")
    assert (response.status, response.problem) == (422, "invalid-body")
    assert response.json()["errors"][0]["pointer"] == "/" + query.partition("=")[0]


@pytest.mark.parametrize(
    "query", ["", "q=", "q=%20", "q=%22", "q=*", "q=%00", "q='--", "q=a%26b", "x=y", "limit=1&limit=2", "&&="]
)
async def test_a_query_that_is_odd_is_answered(shop: ShopServer, query: str) -> None:
    assert (await shop.call("GET", f"/v1/products?{query}")).status == 200


@pytest.mark.parametrize("segment", ["%0A", "a%2Fb", "%25", "%E2%80%AE", "x" * 500, "...", "%2e%2e%2e", "{}", "*", "$"])
async def test_no_identifier_is_too_odd_to_be_not_found(shop: ShopServer, segment: str) -> None:
    cart = await shop.cart_of()
    for method, path, body in [
        ("GET", f"/v1/products/{segment}", None),
        ("GET", f"/v1/carts/{segment}", None),
        ("DELETE", f"/v1/carts/{segment}", None),
        ("POST", f"/v1/carts/{segment}/lines", {"sku": MUG, "quantity": 1}),
        ("DELETE", f"/v1/carts/{cart}/lines/{segment}", None),
        ("GET", f"/v1/orders/{segment}", None),
        ("GET", f"/v1/orders/{segment}/events", None),
        ("POST", f"/v1/orders/{segment}/cancel", None),
    ]:
        response = await shop.call(method, path, body)
        assert response.status in {404, 422}, (method, path, response)
        assert response.problem.endswith("-not-found") or response.problem == "invalid-body"
    put = await shop.call("PUT", f"/v1/carts/{cart}/lines/{segment}", {"quantity": 1})
    assert put.status in {404, 422}


@pytest.mark.parametrize("key", [b"", b"\xff\xfe", b"x" * 256, b"a\tb", "é".encode()])
async def test_an_idempotency_key_that_cannot_be_used_is_400(shop: ShopServer, key: bytes) -> None:
    cart = await shop.cart_of()
    body = orjson.dumps(
        {
            "cart_id": cart,
            "email": "a@b.c",
            "payment": {"token": "t"},
            "shipping_address": {"name": "A", "line1": "1", "city": "L", "postcode": "N1", "country": "GB"},
        }
    )
    head = b"POST /v1/checkout HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\nIdempotency-Key: %b\r\n\r\n" % (
        len(body),
        key,
    )
    async with await shop.client() as client:
        response = await client.request(head + body)
    assert (response.status, response.problem) == (400, "idempotency-key-missing")

"""Every call is driven through its statuses: each one, with all its header fields, is in the OpenAPI document."""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway.auth.client_identifier import api_key_digest
from tests.e2e.running_shop import PATIENCE_S, RunningShop, eventually
from tests.e2e.surroundings import open_shop, reload

POLICIES = f"""
[identity]
trusted_proxies = ["127.0.0.0/8"]
deny = ["203.0.113.66"]
[[identity.api_keys]]
name = "partner"
sha256 = "{api_key_digest("partner-key-0123456789")}"

[[limits]]
name = "per-address"
by = "address"
quota = 2
window_s = 3600
routes = ["/v1/*"]

[headers]
strict_transport_security = "max-age=60"

[cors]
allow_origins = ["https://shop.example"]
routes = ["/v1/*"]
allow_credentials = true

[compression]
enabled = true
min_bytes = 32
"""
CLOSED = POLICIES + '\n[[switches]]\nname = "all"\nroutes = ["/v1/*"]\nenabled = false\n'
ROOM = POLICIES + '\n[[rooms]]\nname = "drop"\nroutes = ["/v1/*"]\nadmissions_per_s = 0.001\nmax_active = 1\n'
SKU = "85123A"
SECRET = "a secret of thirty-two bytes, or of more"
# Of every message (RFC 9110 and 9112), not of an operation.
OF_MESSAGES = {
    "date",
    "server",
    "content-type",
    "content-length",
    "connection",
    "transfer-encoding",
    "keep-alive",
    "trailer",
}
# A time limit, an order of another Region and a fault of ours: other tests have these.
NOT_DRIVEN = {"408", "421", "500"}


class Driver:
    """Sends requests, each from an address of its own, and compares the responses with the document."""

    def __init__(self, shop: RunningShop) -> None:
        self.shop = shop
        self.addresses = itertools.count(1)
        self.seen: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.document: Any = json.loads(
            self.raw(b"GET /openapi.json HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")[2]
        )

    def raw(self, request: bytes) -> tuple[int, Mapping[str, str], bytes]:
        with socket.create_connection(("127.0.0.1", self.shop.port), timeout=PATIENCE_S) as connection:
            connection.sendall(request)
            response = HTTPResponse(connection)
            response.begin()
            is_stream = response.getheader("Content-Type") == "text/event-stream"
            body = b"" if is_stream else response.read()
            return response.status, dict(response.getheaders()), body

    def call(
        self, template: str, path: str, body: Any = None, *fields: str, line: str = "HTTP/1.1", address: str = ""
    ) -> tuple[int, Mapping[str, str], Any]:
        """One call of the operation `METHOD /path/{template}`; checks what comes."""
        method, _, pattern = template.partition(" ")
        number = next(self.addresses)
        address = address or f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} {line}", "Host: shop", f"X-Forwarded-For: {address}", "Connection: close"]
        head += [*fields, "Origin: https://shop.example", "Accept-Encoding: gzip"]
        if content and not any(field.startswith(("Content-Length", "Transfer-")) for field in fields):
            head += [f"Content-Length: {len(content)}"]
        status, headers, text = self.raw("\r\n".join(head).encode() + b"\r\n\r\n" + content)
        self._check(method, pattern, status, headers)
        is_json = "json" in headers.get("Content-Type", "") and "Content-Encoding" not in headers
        return status, headers, json.loads(text) if is_json and text else None

    def _check(self, method: str, pattern: str, status: int, headers: Mapping[str, str]) -> None:
        operation = self.document["paths"][pattern][method.lower()]
        self.seen[method, pattern].add(str(status))
        assert str(status) in operation["responses"], (method, pattern, status)
        described = operation["responses"][str(status)]
        if "$ref" in described:
            described = self.document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        documented = {name.lower() for name in described.get("headers", {})} | OF_MESSAGES
        assert {name.lower() for name in headers} <= documented, (method, pattern, status, set(headers))
        media_type = headers.get("Content-Type", "").partition(";")[0]
        assert not media_type or media_type in described.get("content", {}), (method, pattern, status, media_type)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    folder: Path = tmp_path_factory.mktemp("documented")
    secret = folder / "secret-of-tokens"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    shoppers = (
        f'\n[shoppers]\nissuer = "shop"\naudience = "shop"\nalgorithms = ["HS256"]\nhs256_secret_file = "{secret}"\n'
    )
    with open_shop(folder, POLICIES + shoppers, workers=1) as shop:
        yield Driver(shop)


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for pattern, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), pattern, operation


def checkout(cart_id: str, **changes: Any) -> dict[str, Any]:
    address = {"name": "Ada", "line1": "1 Row", "city": "London", "postcode": "N1", "country": "GB"}
    payment = {"token": "tok_ok"}
    return {"cart_id": cart_id, "email": "ada@example.com", "shipping_address": address, "payment": payment, **changes}


def test_all_statuses_and_header_fields_are_documented(driver: Driver) -> None:
    _drive_carts(driver)
    _drive_holds(driver)
    _drive_products(driver)
    _drive_orders(driver)
    _drive_signed_in(driver)
    for method, pattern, operation in operations(driver.document):
        _drive_server(driver, f"{method} {pattern}", operation)
    driver.call("GET /healthz", "/healthz")
    driver.call("GET /readyz", "/readyz")
    for policies in (CLOSED, ROOM):
        reloaded = reload(driver.shop, policies)
        assert reloaded.status == 200, reloaded
        for method, pattern, operation in operations(driver.document):
            if pattern.startswith("/v1/"):
                # The second client finds the room full.
                for _ in range(2):
                    _plain(driver, f"{method} {pattern}", operation)
    for method, pattern, operation in operations(driver.document):
        if pattern.startswith("/v1/"):
            missing = set(operation["responses"]) - driver.seen[method, pattern] - NOT_DRIVEN
            assert missing <= _RARE.get(f"{method} {pattern}", set()), (method, pattern, missing)


# The order may be cancelled in time or not.
_RARE: Mapping[str, set[str]] = {"POST /v1/orders/{order_id}/cancel": {"202", "409"}}


def _drive_carts(driver: Driver) -> None:
    create, cart_of = "POST /v1/carts", "/v1/carts/{cart_id}"
    _, headers, cart = driver.call(create, "/v1/carts", {"currency": "GBP"})
    assert headers["Access-Control-Allow-Origin"] == "https://shop.example"
    driver.call(create, "/v1/carts", {"currency": "ZZZ"})
    driver.call(create, "/v1/carts", b"{")
    driver.call(create, "/v1/carts", b"x=1", "Content-Type: application/x-www-form-urlencoded")
    path = f"/v1/carts/{cart['id']}"
    _, headers, _ = driver.call(f"GET {cart_of}", path)
    driver.call(f"GET {cart_of}", path, None, f"If-None-Match: {headers['ETag']}")
    driver.call(f"GET {cart_of}", "/v1/carts/4111111111111111")
    line, many = {"sku": SKU, "quantity": 1}, {"sku": SKU, "quantity": 100_000}
    other = driver.call(create, "/v1/carts")[2]["id"]
    writes = [
        ("POST", "/lines", line, many),
        ("PATCH", "/lines", [line], [many]),
        ("PUT", f"/lines/{SKU}", {"quantity": 2}, {"quantity": 100_000}),
        ("PUT", "/coupon", {"code": "DOCS"}, {"code": "NONE"}),
        ("DELETE", "/coupon", None, None),
        ("POST", "/merge", {"from": other, "strategy": "sum"}, {"from": cart["id"], "strategy": "sum"}),
        ("DELETE", f"/lines/{SKU}", None, None),
        ("DELETE", "", None, None),
    ]
    coupon = f"{cart_of}/coupon"
    offer = {"name": "Half price", "percent": 50}
    assert driver.shop.admin("PUT", "/admin/v1/coupons/DOCS", offer).status == 200
    eventually(
        lambda: driver.call(f"PUT {coupon}", f"{path}/coupon", {"code": "DOCS"})[0], lambda status: status == 200
    )
    closed = driver.call(create, "/v1/carts")[2]["id"]
    target = driver.call(create, "/v1/carts")[2]["id"]
    driver.call(f"POST {cart_of}/merge", f"/v1/carts/{target}/merge", {"from": closed, "strategy": "sum"})
    _drive_quotes(driver, closed)
    for method, rest, body, refused in writes:
        template = f"{method} {cart_of}{rest.replace(SKU, '{sku}')}"
        driver.call(template, f"/v1/carts/none{rest}", body)
        driver.call(template, f"/v1/carts/{closed}{rest}", body)
        driver.call(template, f"{path}{rest}", body, 'If-Match: "99"')
        driver.call(template, f"{path}{rest}", body, "X-Request-Id: 4111111111111111")
        if body is not None:
            driver.call(template, f"{path}{rest}", refused)
            driver.call(template, f"{path}{rest}", b"{")
            driver.call(template, f"{path}{rest}", b"x=1", "Content-Type: text/plain")
        status, _, _ = driver.call(template, f"{path}{rest}", body)
        assert status in {200, 204}, (template, status)


def _drive_quotes(driver: Driver, closed: str) -> None:
    quote = "GET /v1/carts/{cart_id}/quote"
    cart = driver.call("POST /v1/carts", "/v1/carts")[2]["id"]
    driver.call(quote, f"/v1/carts/{cart}/quote?country=GB")
    driver.call("POST /v1/carts/{cart_id}/lines", f"/v1/carts/{cart}/lines", {"sku": SKU, "quantity": 1})
    status, _, _ = driver.call(quote, f"/v1/carts/{cart}/quote?country=GB")
    assert status == 200
    for cart_id, country in (("none", "GB"), (closed, "GB"), (cart, "nowhere")):
        driver.call(quote, f"/v1/carts/{cart_id}/quote?country={country}")


def _drive_holds(driver: Driver) -> None:
    line = "/v1/carts/{cart_id}/lines/{sku}"
    terms = f"/admin/v1/stock/{SKU}/terms"
    assert driver.shop.admin("PATCH", terms, {"hold_at_cart": 600}).status == 200
    cart = driver.call("POST /v1/carts", "/v1/carts")[2]["id"]
    path = f"/v1/carts/{cart}/lines/{SKU}"
    put = f"PUT {line}"
    eventually(lambda: driver.call(put, path, {"quantity": 1})[2]["lines"][0], lambda shown: "hold" in shown)
    statuses = [driver.call(f"POST {line}/hold", f"{path}/hold")[0] for _ in range(2)]
    assert statuses == [200, 409]
    driver.call(f"POST {line}/hold", f"/v1/carts/none/lines/{SKU}/hold")
    driver.call(f"POST {line}/hold", f"/v1/carts/{cart}/lines/4111111111111111/hold")
    assert driver.shop.admin("PATCH", terms, {"hold_at_cart": None}).status == 200


def _drive_products(driver: Driver) -> None:
    for template, path in (
        ("GET /v1/products", "/v1/products?limit=2"),
        ("GET /v1/products/trending", "/v1/products/trending"),
        ("GET /v1/products/{sku}", f"/v1/products/{SKU}"),
    ):
        _, headers, _ = driver.call(template, path)
        driver.call(template, path, None, f"If-None-Match: {headers['ETag']}")
    driver.call("GET /v1/products", "/v1/products?limit=0")
    driver.call("GET /v1/products/trending", "/v1/products/trending?limit=0")
    driver.call("GET /v1/products/{sku}", "/v1/products/none")
    driver.call("GET /v1/products/{sku}", "/v1/products/4111111111111111")


def _drive_orders(driver: Driver) -> None:
    place, order_of = "POST /v1/checkout", "/v1/orders/{order_id}"
    cart = driver.call("POST /v1/carts", "/v1/carts")[2]["id"]
    driver.call(place, "/v1/checkout", checkout(cart), "Idempotency-Key: empty")
    driver.call("POST /v1/carts/{cart_id}/lines", f"/v1/carts/{cart}/lines", {"sku": SKU, "quantity": 1})
    driver.call(place, "/v1/checkout", checkout(cart))
    driver.call(place, "/v1/checkout", checkout("none"), "Idempotency-Key: missing")
    driver.call(place, "/v1/checkout", b"x", "Content-Type: text/plain")
    wrong = {"amount": 1, "currency": "GBP"}
    driver.call(place, "/v1/checkout", checkout(cart, expected_total=wrong), "Idempotency-Key: total")
    status, headers, order = driver.call(place, "/v1/checkout", checkout(cart), "Idempotency-Key: once")
    assert (status, headers["Location"]) == (202, f"/v1/orders/{order['id']}")
    _, headers, _ = driver.call(place, "/v1/checkout", checkout(cart), "Idempotency-Key: once")
    assert headers["Idempotent-Replayed"] == "true"
    driver.call(place, "/v1/checkout", checkout(cart), "Idempotency-Key: other")
    path = f"/v1/orders/{order['id']}"
    for template, rest in (
        (f"GET {order_of}", ""),
        (f"GET {order_of}/events", "/events"),
        (f"POST {order_of}/cancel", "/cancel"),
    ):
        driver.call(template, path + rest)
        if rest == "/events":
            assert driver.call(template, path + rest, None, "Last-Event-ID: 99")[0] == 204
        driver.call(template, "/v1/orders/none" + rest)
        driver.call(template, "/v1/orders/4111111111111111" + rest)


def _drive_signed_in(driver: Driver) -> None:
    claims = {"sub": "ada", "iss": "shop", "aud": "shop", "exp": int(time.time()) + 3600}
    token = f"Authorization: Bearer {jwt.encode(claims, SECRET, 'HS256')}"
    mine, orders = "/v1/carts/mine", "/v1/orders"
    _, headers, _ = driver.call(f"GET {mine}", mine, None, token)
    driver.call(f"GET {mine}", mine, None, token, f"If-None-Match: {headers['ETag']}")
    driver.call(f"GET {orders}", orders, None, token)
    driver.call(f"GET {orders}", f"{orders}?limit=0", None, token)
    for path in (mine, orders):
        driver.call(f"GET {path}", path)
        driver.call(f"GET {path}", path, None, token, "X-Request-Id: 4111111111111111")


def _path(pattern: str) -> str:
    return re.sub(r"{\w+}", "none", pattern)


def _plain(driver: Driver, template: str, operation: Any, *fields: str, **options: Any) -> int:
    """A simple request of the operation."""
    body = b"{}" if "requestBody" in operation else None
    return driver.call(template, _path(template.partition(" ")[2]), body, *fields, **options)[0]


def _drive_server(driver: Driver, template: str, operation: Any) -> None:
    """What the server and the layers reject, whatever the operation."""
    pattern = template.partition(" ")[2]
    assert driver.call(template, f"{_path(pattern)}?q={'x' * 70_000}")[0] == 414
    assert driver.call(template, _path(pattern), None, f"X-Long: {'x' * 70_000}")[0] == 431
    assert driver.call(template, _path(pattern), None, "Bad Field: 1")[0] == 400
    assert driver.call(template, _path(pattern), None, "Content-Length: 99999999", "Expect: 100-continue")[0] == 413
    assert driver.call(template, _path(pattern), None, "Content-Length: 2", "Expect: more")[0] == 417
    assert driver.call(template, _path(pattern), None, "Transfer-Encoding: gzip, chunked")[0] == 501
    assert driver.call(template, _path(pattern), None, line="HTTP/3.0")[0] == 505
    if pattern.startswith("/v1/"):
        assert _plain(driver, template, operation, "X-Api-Key: unknown") == 401
        assert _plain(driver, template, operation, address="203.0.113.66") == 403
        address = f"192.0.2.{1 + list(driver.document['paths']).index(pattern) * 5 + len(template) % 5}"
        # On a machine that is too busy, the store may be given up for a moment, and a local limit be in its place.
        eventually(lambda: _plain(driver, template, operation, address=address), lambda status: status == 429)

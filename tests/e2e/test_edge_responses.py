"""What every response of a running gateway is dressed in, and what is written down of it."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from aiohttp import web
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running_shop import RunningShop, eventually
from tests.e2e.surroundings import Kept, Neighbour, count, crowd, open_shop

POLICIES = """
[identity]
trusted_proxies = ["127.0.0.1"]

[cors]
allow_origins = ["https://shop.example"]
allow_credentials = true

[headers]
strict_transport_security = "max-age=63072000"

[[upstreams]]
name = "web"
targets = ["WEB_URL"]

[[routes]]
prefix = "/web/"
upstream = "web"
compress = true

[[limits]]
name = "tight"
by = "address"
quota = 2
window_s = 3600
routes = ["GET /v1/orders/{order_id}"]

[access_log]
file = "LOG_FILE"
ok_sample_rate = 0.25
rejected_sample_rate = 0.5
client_error_sample_rate = 1.0
server_error_sample_rate = 1.0
slow_s = 60
"""
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content),
}


def _web() -> web.Application:
    async def page(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("long"):
            response = web.StreamResponse(headers={"Content-Type": "text/html"})
            await response.prepare(request)
            for number in range(2_000):
                await response.write(b"<p>paragraph %d of a long page</p>" % number)
            return response
        own = {"Content-Security-Policy": "default-src 'self'"} if request.path.endswith("own") else {}
        return web.Response(text="<p>hello</p>", content_type="text/html", headers=own)

    app = web.Application()
    app.router.add_get("/{page:.*}", page)
    return app


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "access.log"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, log_file: Path) -> Iterator[RunningShop]:
    with Neighbour(_web) as front:
        policies = POLICIES.replace("WEB_URL", front.url).replace("LOG_FILE", str(log_file))
        with open_shop(tmp_path_factory.mktemp("responses"), policies) as shop:
            yield shop


# Other origins


def test_a_preflight_allows_pages_of_the_shop(gate: RunningShop) -> None:
    told = gate.call(
        "OPTIONS",
        "/v1/carts",
        Origin="https://shop.example",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="idempotency-key",
    )
    assert told.status == 204
    assert told.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert told.headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in told.headers["Access-Control-Allow-Methods"]
    assert "Idempotency-Key" in told.headers["Access-Control-Allow-Headers"]
    assert told.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize("path", ["/v1/carts/no-such-cart", "/v1/products/85123A", "/v1/orders/no-such-order"])
def test_responses_and_problems_can_be_read_by_pages_of_the_shop_only(gate: RunningShop, path: str) -> None:
    for _ in range(3):
        response = gate.call("GET", path, Origin="https://shop.example", X_Forwarded_For="198.51.100.7")
        assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "Degraded" in response.headers["Access-Control-Expose-Headers"]
        assert "Origin" in ", ".join(response.headers.get_all("Vary") or [])
    other = gate.call("GET", path, Origin="https://evil.example", X_Forwarded_For="198.51.100.8")
    assert other.headers["Access-Control-Allow-Origin"] is None


# Compression


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("path", ["/v1/products?limit=50", "/openapi.json", "/web/long"])
def test_responses_without_secrets_are_compressed_as_accepted(gate: RunningShop, path: str, coding: str) -> None:
    with Kept(gate) as shopper:
        plain, packed = shopper.get(path), shopper.get(path, Accept_Encoding=f"{coding}, unheard-of")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == coding
    assert "Accept-Encoding" in packed.headers["vary"]
    assert len(packed.content) < len(plain.content)
    assert CODINGS[coding](packed.content) == plain.content
    assert packed.headers.get("etag", "W/").startswith("W/")


def test_carts_are_never_compressed(gate: RunningShop) -> None:
    skus = [product["sku"] for product in gate.call("GET", "/v1/products?limit=40").body["products"]]
    cart_id = gate.call("POST", "/v1/carts").body["id"]
    lines = [{"sku": sku, "quantity": 1} for sku in skus]
    assert gate.call("PATCH", f"/v1/carts/{cart_id}/lines", lines).status == 200
    with Kept(gate) as shopper:
        cart = shopper.get(f"/v1/carts/{cart_id}", Accept_Encoding="gzip, br, zstd")
    assert len(cart.content) > 1_400
    assert "content-encoding" not in cart.headers
    assert len(cart.body["lines"]) == len(skus)


# Fields of every response


@pytest.mark.parametrize("path", ["/v1/products", "/v1/carts/no-such-cart", "/no-such-route", "/web/page", "/docs"])
def test_every_response_has_security_headers(gate: RunningShop, path: str) -> None:
    headers = gate.call("GET", path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Strict-Transport-Security"] == "max-age=63072000"
    if path.startswith("/v1/"):
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers.get_all("Server") == ["peakgate"]
    assert len(headers.get_all("Date") or []) == 1


def test_security_headers_of_the_upstream_are_preserved(gate: RunningShop) -> None:
    headers = gate.call("GET", "/web/own").headers
    assert headers.get_all("Content-Security-Policy") == ["default-src 'self'"]
    assert headers.get_all("Referrer-Policy") == ["no-referrer"]


def test_a_request_has_one_id_everywhere_and_goes_on_in_its_trace(gate: RunningShop) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    ids = {gate.call("GET", "/v1/products").headers["X-Request-Id"] for _ in range(8)}
    assert len(ids) == 8
    traced = gate.call("GET", "/v1/carts/none", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    assert traced.body["instance"] == traced.headers["X-Request-Id"] == trace
    broken = gate.call("GET", "/v1/carts/none", traceparent="00-nonsense")
    assert re.fullmatch(r"[0-9a-f]{16,32}", broken.headers["X-Request-Id"])


# What is written down


def lines_of(file: Path, path: str) -> list[Any]:
    """The lines of the access log about a route."""
    return [line for line in map(json.loads, file.read_text().splitlines()) if line["route"] == path]


def test_the_access_log_has_a_sample_of_each_outcome_and_nothing_personal(gate: RunningShop, log_file: Path) -> None:
    cart_id = "c" * 26
    ids: set[str] = set()
    with Kept(gate) as shopper:
        secret = {
            "Authorization": "Bearer secret-token",
            "User_Agent": "secret-agent",
            "X_Forwarded_For": "198.51.100.77",
        }
        for _ in range(40):
            page = shopper.get("/v1/products/22423?who=ada", **secret)
            assert page.status == 200
            ids.add(page.headers["x-request-id"])
        assert {shopper.get(f"/v1/carts/{cart_id}", **secret).status for _ in range(5)} == {404}
        statuses = Counter(shopper.get("/v1/orders/" + "d" * 26, **secret).status for _ in range(22))
    assert statuses == {404: 2, 429: 20}
    # All of a kind are written in the order of their responses.
    lost = eventually(lambda: lines_of(log_file, "/v1/orders/{order_id}"), lambda lines: len(lines) >= 12)
    assert Counter(line["status"] for line in lost)[404] >= 2
    # Lines of the other worker, about requests of other tests, may be written at any time.
    served = [line for line in lines_of(log_file, "/v1/products/{sku}") if line["request_id"] in ids]
    # A sample is taken evenly of all responses of an outcome, so one more may have been due already.
    assert len(served) in {10, 11}, "a quarter"
    assert len(lines_of(log_file, "/v1/carts/{cart_id}")) >= 5
    line = served[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["method"], line["status"]) == ("GET", 200)
    assert line["duration_ms"] > 0
    assert line["response_bytes"] > 0
    text = log_file.read_text()
    for personal in ("198.51.100", "secret", "ada", cart_id, "d" * 26):
        assert personal not in text


def test_metrics_are_read_by_both_kinds_of_scrapers_and_add_up(gate: RunningShop) -> None:
    before = count(gate, "peakgate_requests_total", route="/v1/products", status="200")
    assert {response.status for response in crowd(gate, 30, "GET", "/v1/products")} == {200}
    eventually(
        lambda: count(gate, "peakgate_requests_total", route="/v1/products", status="200"),
        lambda now: now - before >= 30,
    )
    classic = gate.admin("GET", "/metrics")
    families = {each.name: each for each in text_string_to_metric_families(classic.body)}
    histogram = families["peakgate_request_seconds"]
    assert histogram.type == "histogram"
    counts = {each.name for each in histogram.samples}
    assert {
        "peakgate_request_seconds_bucket",
        "peakgate_request_seconds_count",
        "peakgate_request_seconds_sum",
    } <= counts
    for part in ("breaker_state", "limit_decisions", "shedding", "upstream_requests", "cache", "degraded_responses"):
        assert any(name.startswith(f"peakgate_{part}") for name in families), part
    labels = {
        (key, value) for family in families.values() for each in family.samples for key, value in each.labels.items()
    }
    assert not [value for _, value in labels if "198.51.100" in value or "c" * 26 in value]
    scraped = gate._call(
        gate.admin_url,
        "GET",
        "/metrics",
        None,
        {"Authorization": f"Bearer {gate.admin_token}", "Accept": "application/openmetrics-text; version=1.0.0"},
    )
    assert scraped.headers["Content-Type"].startswith("application/openmetrics-text")
    opened = open_metrics.text_string_to_metric_families(scraped.body)  # type: ignore[no-untyped-call]
    assert {each.name for each in opened} >= {
        "peakgate_requests",
        "peakgate_request_seconds",
    }


def test_readiness_reports_each_dependency(gate: RunningShop) -> None:
    ready = gate.call("GET", "/readyz")
    assert (ready.status, ready.body["status"]) == (200, "ready")
    assert set(ready.body["checks"]) == {"orders", "store", "store history", "store settings", "upstreams"}
    assert set(ready.body["breakers"]) >= {"store", "payment", "shipping", "queue", "search", "web"}
    assert set(ready.body["breakers"].values()) == {"closed"}
    gate.admin("POST", "/admin/v1/drills/payment", {})
    degraded = gate.call("GET", "/readyz")
    assert (degraded.status, degraded.body["status"]) == (200, "degraded")
    assert degraded.body["breakers"]["payment"] == "open"
    gate.admin("POST", "/admin/v1/drills/payment", {"tripped": False})

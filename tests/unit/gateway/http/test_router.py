"""From method and path to an endpoint."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, resolve
from gateway.http.route_stats import RouteStatsTable
from gateway.http.router import Router


async def handler(request: Request) -> Response:
    return Response(200, request.method.encode())


CARTS = Endpoint("POST", "/v1/carts", handler)
CART = Endpoint("GET", "/v1/carts/{cart_id}", handler)
LINE = Endpoint("PUT", "/v1/carts/{cart_id}/lines/{sku}", handler)
NO_LINE = Endpoint("DELETE", "/v1/carts/{cart_id}/lines/{sku}", handler)
MINE = Endpoint("GET", "/v1/carts/mine", handler)
ROUTER = Router([CARTS, CART, LINE, NO_LINE, MINE])


def answered(method: str, path: str) -> Response:
    endpoint, params = ROUTER.find(method, path)
    return asyncio.run(resolve(endpoint.handler(Request(method, path, "", {}, b"", "id", params))))


def test_a_path_leads_to_its_endpoint_with_its_variables() -> None:
    assert ROUTER.find("POST", "/v1/carts") == (CARTS, ())
    assert ROUTER.find("GET", "/v1/carts/abc") == (CART, ("abc",))
    assert ROUTER.find("PUT", "/v1/carts/abc/lines/BANK%20CHARGES") == (LINE, ("abc", "BANK CHARGES"))
    assert ROUTER.find("DELETE", "/v1/carts/abc/lines/a%2Fb") == (NO_LINE, ("abc", "a/b"))


def test_a_literal_segment_comes_before_a_variable() -> None:
    assert ROUTER.find("GET", "/v1/carts/mine") == (MINE, ())


def test_head_goes_with_get_and_with_nothing_else() -> None:
    assert ROUTER.find("HEAD", "/v1/carts/abc") == (CART, ("abc",))
    assert answered("HEAD", "/v1/carts").status == 405


def test_options_lists_the_methods_of_a_path() -> None:
    assert answered("OPTIONS", "/v1/carts/abc/lines/x").header_block == b"Allow: DELETE, OPTIONS, PUT\r\n"
    assert answered("OPTIONS", "/v1/carts/abc").header_block == b"Allow: GET, HEAD, OPTIONS\r\n"
    assert answered("OPTIONS", "/v1/carts/abc").status == 204


@pytest.mark.parametrize("method", ["PATCH", "get", "BREW", ""])
def test_another_method_is_405_with_the_allowed_ones(method: str) -> None:
    response = answered(method, "/v1/carts/abc")
    assert response.status == 405
    assert response.header_block == b"Allow: GET, HEAD, OPTIONS\r\n"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v1/",
        "/v1/carts/",
        "/v1//carts",
        "//v1/carts",
        "/v1/carts/abc/",
        "/v1/carts/abc/lines",
        "/v1/Carts",
        "/v1/carts/abc/lines/%FF",
        "/v1/carts//lines/x",
        "v1/carts",
        "/v1/carts/abc/lines/x/y",
    ],
)
def test_other_paths_lead_nowhere(path: str) -> None:
    assert answered("GET", path).status == 404
    assert answered("OPTIONS", path).status == 404


def test_the_server_itself_has_options_and_nothing_else() -> None:
    assert answered("OPTIONS", "*").status == 204
    assert answered("GET", "*").status == 405


def test_answers_are_counted_by_status() -> None:
    endpoint = Endpoint("GET", "/", handler)
    for status in (200, 200, 404):
        endpoint.stats.add(status, 0.002)
    assert endpoint.stats.by_status == {200: 2, 404: 1}


def test_problems_are_counted_beside_the_statuses() -> None:
    table = RouteStatsTable()
    stats = table.of("POST", "/v1/checkout")
    for slug in ("out-of-stock", "out-of-stock", "cart-closed"):
        stats.add(409, 0.002)
        stats.add_problem(slug)
    samples = {
        (metric.name, sample.labels.get("problem")): sample.value
        for metric in table.metrics()
        for sample in metric.samples
    }
    assert samples["peakgate_requests_total", None] == 3
    assert samples["peakgate_problems_total", "out-of-stock"] == 2
    assert samples["peakgate_problems_total", "cart-closed"] == 1


def test_the_latest_traced_response_is_the_exemplar_of_its_bucket() -> None:
    table = RouteStatsTable()
    stats = table.of("GET", "/v1/cart")
    for elapsed_s, trace_id in ((0.002, "a" * 32), (0.0025, "b" * 32), (60.0, "c" * 32)):
        stats.add(200, elapsed_s)
        stats.add_exemplar(elapsed_s, trace_id)
    stats.add(200, 0.0001)
    exemplars = {
        sample.labels["le"]: (sample.exemplar.trace_id, sample.exemplar.value)
        for metric in table.metrics()
        for sample in metric.samples
        if sample.exemplar is not None
    }
    assert exemplars == {"0.0025": ("b" * 32, 0.0025), "+Inf": ("c" * 32, 60.0)}


def test_a_path_below_a_prefix_goes_to_the_nearest_one() -> None:
    shop, pictures = Endpoint("*", "/shop/*", handler), Endpoint("*", "/shop/pictures/*", handler)
    router = Router([shop, pictures, Endpoint("GET", "/shop/cart", handler)])
    assert router.find("GET", "/shop/") == (shop, ())
    assert router.find("PUT", "/shop/a/b%2Fc") == (shop, ())
    assert router.find("GET", "/shop/pictures/1.png") == (pictures, ())
    assert router.find("GET", "/shop/cart")[0].path == "/shop/cart"
    assert router.find("POST", "/shop/cart")[0].path == "/shop/cart"
    assert router.find("GET", "/shop/cart/x") == (shop, ())
    assert router.find("GET", "/shop") == (shop, ())
    assert router.find("GET", "/shops")[0].path == "*"


def test_a_prefix_of_everything_leaves_the_routes_that_are_nearer() -> None:
    everything = Endpoint("*", "/*", handler)
    router = Router([everything, Endpoint("GET", "/v1/carts/{cart_id}", handler)])
    assert router.find("GET", "/") == (everything, ())
    assert router.find("GET", "/v1/other") == (everything, ())
    assert router.find("GET", "/v1/carts/abc")[1] == ("abc",)


def test_an_exact_path_comes_before_a_prefix_and_serves_nothing_below() -> None:
    everything, drop = Endpoint("*", "/*", handler), Endpoint("*", "/drop", handler)
    below = Endpoint("*", "/drop/*", handler)
    router = Router([everything, below, drop])
    assert router.find("GET", "/drop") == (drop, ())
    assert router.find("GET", "/DROP/") == (drop, ())
    assert router.find("GET", "/drop/1") == (below, ())
    assert Router([everything, drop]).find("GET", "/drop/1") == (everything, ())


def test_the_root_can_be_an_exact_path() -> None:
    home, everything = Endpoint("*", "/", handler), Endpoint("*", "/*", handler)
    router = Router([everything, home])
    assert [router.find("GET", path)[0] for path in ("/", "//", "/;x", "/a")] == [home, home, home, everything]
    assert Router([home]).find("GET", "/a")[0].path == "*"


@pytest.mark.parametrize("host", ["shop.example", "SHOP.example", "shop.example:8443", "shop.example."])
def test_an_endpoint_with_hosts_serves_them_however_they_are_spelled(host: str) -> None:
    of_all, of_shop = Endpoint("*", "/*", handler), Endpoint("*", "shop.example/*", handler, hosts=("shop.example",))
    router = Router([of_all, of_shop])
    assert router.find("GET", "/a", host)[0] is of_shop
    assert router.find("GET", "/a", "other.example")[0] is of_all
    assert router.find("GET", "/a")[0] is of_all


def test_the_longest_path_wins_over_a_host() -> None:
    drop, of_shop = Endpoint("*", "/drop/*", handler), Endpoint("*", "[::1]/*", handler, hosts=("[::1]",))
    router = Router([drop, of_shop])
    assert router.find("GET", "/drop/1", "[::1]:80")[0] is drop
    assert router.find("GET", "/a", "[::1]:80")[0] is of_shop
    assert router.find("GET", "/a", "shop")[0].path == "*"

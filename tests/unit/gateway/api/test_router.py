"""From method and path to an endpoint."""

from __future__ import annotations

import asyncio

import pytest

from gateway.api.router import Endpoint, Router
from gateway.http import Request, Response


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
    return asyncio.run(endpoint.handler(Request(method, path, "", {}, b"", "id", params)))


def test_a_path_leads_to_its_endpoint_with_its_variables() -> None:
    assert ROUTER.find("POST", "/v1/carts") == (CARTS, ())
    assert ROUTER.find("GET", "/v1/carts/abc") == (CART, ("abc",))
    assert ROUTER.find("PUT", "/v1/carts/abc/lines/BANK%20CHARGES") == (LINE, ("abc", "BANK CHARGES"))
    assert ROUTER.find("DELETE", "/v1/carts/abc/lines/a%2Fb") == (NO_LINE, ("abc", "a/b"))


def test_what_is_spelled_out_comes_before_a_variable() -> None:
    assert ROUTER.find("GET", "/v1/carts/mine") == (MINE, ())


def test_head_goes_with_get_and_with_nothing_else() -> None:
    assert ROUTER.find("HEAD", "/v1/carts/abc") == (CART, ("abc",))
    assert answered("HEAD", "/v1/carts").status == 405


def test_options_tells_what_a_path_takes() -> None:
    assert answered("OPTIONS", "/v1/carts/abc/lines/x").headers == b"Allow: DELETE, OPTIONS, PUT\r\n"
    assert answered("OPTIONS", "/v1/carts/abc").headers == b"Allow: GET, HEAD, OPTIONS\r\n"
    assert answered("OPTIONS", "/v1/carts/abc").status == 204


@pytest.mark.parametrize("method", ["PATCH", "get", "BREW", ""])
def test_another_method_is_405_with_what_is_allowed(method: str) -> None:
    answer = answered(method, "/v1/carts/abc")
    assert answer.status == 405
    assert answer.headers == b"Allow: GET, HEAD, OPTIONS\r\n"


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


def test_an_endpoint_needs_a_handler() -> None:
    with pytest.raises(ValueError, match="handler"):
        Endpoint("GET", "/")


def test_answers_are_counted_by_status() -> None:
    endpoint = Endpoint("GET", "/", handler)
    for status in (200, 200, 404):
        endpoint.count(status)
    assert endpoint.answers == {200: 2, 404: 1}

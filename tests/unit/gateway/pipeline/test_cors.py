from __future__ import annotations

from gateway.http.message import Request, Response
from gateway.pipeline.cors import cors

PAGE = "https://shop.example"


def asked(
    origins: tuple[str, ...], *, method: str = "GET", credentials: bool = False, **headers: str
) -> tuple[Response, bytes]:
    handler = cors(origins, allow_credentials=credentials, max_age_s=600, expose_headers=("ETag",))(
        lambda _request: Response(200)
    )
    fields = {name.replace("_", "-").title(): value for name, value in headers.items()}
    request = Request(method, "/v1/carts", "", fields, b"", "id", ())
    outcome = handler(request)
    assert isinstance(outcome, Response)
    return outcome, request.extra_headers


def test_a_page_of_an_allowed_origin_may_read_the_response() -> None:
    _, notes = asked((PAGE,), origin=PAGE)
    assert b"Access-Control-Allow-Origin: https://shop.example\r\n" in notes
    assert b"Access-Control-Expose-Headers: ETag\r\n" in notes
    assert b"Allow-Credentials" not in notes


def test_a_page_of_another_origin_may_not() -> None:
    assert b"Allow-Origin" not in asked((PAGE,), origin="https://evil.example")[1]
    assert b"Allow-Origin" not in asked((PAGE,), origin="https://shop.example.evil")[1]
    assert b"Allow-Origin" not in asked((PAGE,), origin="null")[1]


def test_every_response_varies_with_the_origin() -> None:
    assert b"Vary: Origin\r\n" in asked((PAGE,))[1]
    for origin in (PAGE, "https://evil.example"):
        assert b"Vary: Origin\r\n" in asked((PAGE,), origin=origin)[1]


def test_credentials_go_to_named_origins() -> None:
    assert b"Access-Control-Allow-Credentials: true\r\n" in asked((PAGE,), origin=PAGE, credentials=True)[1]


def test_any_origin_gets_a_star() -> None:
    assert b"Access-Control-Allow-Origin: *\r\n" in asked(("*",), origin=PAGE)[1]


def test_a_preflight_gets_a_response_of_the_layer() -> None:
    response, notes = asked((PAGE,), method="OPTIONS", origin=PAGE, access_control_request_method="PATCH")
    assert response.status == 204
    assert b"PATCH" in response.header_block
    assert b"Idempotency-Key" in response.header_block
    assert b"Access-Control-Max-Age: 600\r\n" in response.header_block
    assert b"Access-Control-Allow-Origin" in notes


def test_options_requests_that_are_no_preflight_reach_the_route() -> None:
    assert asked((PAGE,), method="OPTIONS", origin=PAGE)[0].status == 200
    assert asked((PAGE,), method="OPTIONS", access_control_request_method="GET")[0].status == 200

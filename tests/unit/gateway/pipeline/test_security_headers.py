from __future__ import annotations

import pytest

from gateway.http.message import Request, Response, header
from gateway.pipeline.security_headers import security_headers

FIELDS = {"x_content_type_options": "nosniff", "strict_transport_security": "", "referrer_policy": "no-referrer"}


def lines(*, where_missing: bool, said: bytes = b"") -> bytes:
    request = Request("GET", "/", "", {}, b"", "id", ())
    layer = security_headers(FIELDS, where_missing=where_missing)
    response = layer(lambda _request: Response(200, header_block=said))(request)
    assert isinstance(response, Response)
    return response.header_block + request.extra_headers


def test_responses_have_the_configured_fields() -> None:
    assert lines(where_missing=False) == b"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"


def test_a_field_that_the_response_sets_stays() -> None:
    said = header("referrer-policy", "origin")
    assert lines(where_missing=True, said=said) == said + b"X-Content-Type-Options: nosniff\r\n"


def test_the_fields_are_in_the_response_of_an_exception_too() -> None:
    def fail(_request: Request) -> Response:
        raise RuntimeError("broken on purpose")

    request = Request("GET", "/", "", {}, b"", "id", ())
    with pytest.raises(RuntimeError):
        security_headers(FIELDS, where_missing=True)(fail)(request)
    assert request.extra_headers == b"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"

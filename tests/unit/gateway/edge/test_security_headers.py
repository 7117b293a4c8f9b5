from __future__ import annotations

from gateway.edge.security_headers import security_headers
from gateway.http import Request, Response, header

FIELDS = {"x_content_type_options": "nosniff", "strict_transport_security": "", "referrer_policy": "no-referrer"}


def lines(*, own: bool, said: bytes = b"") -> bytes:
    layer = security_headers(own=own, content_security_policy="default-src 'none'", **FIELDS)
    request = Request("GET", "/", "", {}, b"", "id", ())
    answer = layer(lambda _request: Response(200, headers=said))(request)
    assert isinstance(answer, Response)
    return answer.headers + request.notes


def test_our_own_answers_have_what_is_configured() -> None:
    assert lines(own=True) == (
        b"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'\r\n"
    )


def test_pages_of_others_get_no_content_policy() -> None:
    assert b"Content-Security-Policy" not in lines(own=False)


def test_what_an_upstream_says_itself_stands() -> None:
    said = header("referrer-policy", "origin")
    assert lines(own=False, said=said) == said + b"X-Content-Type-Options: nosniff\r\n"

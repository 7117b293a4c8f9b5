from __future__ import annotations

import pytest

from gateway.http.head_limits import HeadLimits
from gateway.proxy import response_head
from gateway.proxy.errors import BadResponse
from gateway.proxy.response_head import CHUNKED, UNTIL_CLOSE, ResponseHead, parse_head
from gateway.server.http1 import Http1


def read(*lines: str, status: str = "HTTP/1.1 200 OK") -> ResponseHead:
    return parse_head("\r\n".join([status, *lines]).encode("latin-1"))


def test_end_to_end_fields_are_passed_on_as_written() -> None:
    head = read('ETag: W/"1"', "x-Some:value ", "X-Empty:", "X-Latin: caf\xe9")
    assert head.header_block == b'ETag: W/"1"\r\nx-Some: value\r\nX-Empty: \r\nX-Latin: caf\xe9\r\n'


@pytest.mark.parametrize(
    "line",
    [
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "TE: x",
        "Trailer: X",
        "Upgrade: h2c",
        "Server: nginx",
        "Date: today",
        "X-Request-Id: theirs",
        "Connection: close",
        "Content-Length: 1",
    ],
)
def test_hop_by_hop_fields_and_the_gateways_own_are_dropped(line: str) -> None:
    assert read(line, "A: b").header_block == b"A: b\r\n"


def test_the_date_of_the_origin_is_kept_and_comes_first() -> None:
    # RFC 9110, 6.6.1
    head = read("A: b", "date: Sat, 21 Nov 2026 11:00:00 GMT", "C: d", "Content-Length: 0")
    assert head.header_block == b"Date: Sat, 21 Nov 2026 11:00:00 GMT\r\nA: b\r\nC: d\r\n"
    assert head.length == 0


def test_a_field_that_passes_can_be_read_when_it_comes_back() -> None:
    limits = HeadLimits(line_bytes=1024)
    longest = f"Set-Cookie: sid={'x' * (1024 - 16)}"
    head = parse_head(f"HTTP/1.1 200 OK\r\n{longest}".encode(), limits)
    cookie = head.header_block.removeprefix(b"Set-").strip()
    reader = Http1(keepalive_s=1.0, receive_timeout_s=1.0, limits=limits)
    received = reader.next_request(b"GET / HTTP/1.1\r\nHost: shop\r\n" + cookie + b"\r\n\r\n")
    assert received is not None
    assert received.headers["Cookie"] == cookie.decode().removeprefix("Cookie: ")


@pytest.mark.parametrize(
    "lines",
    [
        [f"Location: /{'x' * 1024}"],
        [f"Set-Cookie: sid={'x' * 1024}"],
        [f"Set-Cookie: a={'x' * 600}; Path=/", f"set-cookie:b={'x' * 600}; Path=/"],
        ["X: y"] * 11,
    ],
)
def test_a_head_beyond_the_limits_is_invalid(lines: list[str]) -> None:
    section = "\r\n".join(["HTTP/1.1 200 OK", *lines]).encode()
    assert parse_head(section, HeadLimits(line_bytes=8192, fields=20)).status == 200
    with pytest.raises(BadResponse):
        parse_head(section, HeadLimits(line_bytes=1024, fields=10))


def test_fields_named_by_connection_are_dropped() -> None:
    assert read("X-One: 1", "Connection: x-one, keep-alive", "X-Two: 2").header_block == b"X-Two: 2\r\n"


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        (["Content-Length: 0"], 0),
        (["content-length:12"], 12),
        (["Transfer-Encoding: Chunked"], CHUNKED),
        ([], UNTIL_CLOSE),
    ],
)
def test_the_length_follows_from_the_fields(lines: list[str], length: int) -> None:
    assert read(*lines).length == length


@pytest.mark.parametrize(
    ("status", "lines", "keeps"),
    [
        ("HTTP/1.1 200 OK", [], True),
        ("HTTP/1.1 200 OK", ["Connection: Close"], False),
        ("HTTP/1.1 200 OK", ["Connection: keep-alive", "Connection: x, close"], False),
        ("HTTP/1.0 200 OK", ["Connection: keep-alive"], False),
    ],
)
def test_keep_alive_follows_from_version_and_connection(status: str, lines: list[str], keeps: bool) -> None:
    assert read(*lines, status=status).keeps_alive is keeps


def test_a_missing_content_type_is_not_invented() -> None:
    assert read().content_type == b""
    assert read("content-type: text/html; charset=utf-8").content_type == b"text/html; charset=utf-8"


@pytest.mark.parametrize(
    "line",
    [
        "",
        ": x",
        "X",
        "X : y",
        " X: y",
        "\tX: y",
        "X: a\rb",
        "X: a\nb",
        "X: \x00",
        "X: \x7f",
        "X\x80: y",
        "X(: y",
        "Content-Length:",
        "Content-Length: 1a",
        "Content-Length: 0x1",
        "Content-Length: 1_0",
        "Content-Length: " + "9" * 19,
    ],
)
def test_a_malformed_header_line_is_an_error(line: str) -> None:
    for _ in range(2):
        with pytest.raises(BadResponse):
            read("A: b", line, "C: d")


@pytest.mark.parametrize(
    "status",
    [
        "",
        "HTTP/1.1",
        "HTTP/1.1 200OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 099 X",
        "HTTP/1.1 600 X",
        "HTTP/2.0 200 OK",
        "HTTP/1.10 200 OK",
        "http/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\x00K",
        "HTTP/1.1 ２００ OK".encode().decode("latin-1"),
    ],
)
def test_a_malformed_status_line_is_an_error(status: str) -> None:
    with pytest.raises(BadResponse):
        read("A: b", status=status)


def test_a_later_minor_version_is_read_as_the_latest_known_one() -> None:
    head = read("Transfer-Encoding: chunked", status="HTTP/1.2 200 OK")
    assert (head.status, head.length, head.keeps_alive) == (200, CHUNKED, True)


def test_remembered_lines_are_bounded_and_hold_no_cookies() -> None:
    for number in range(5000):
        read(f"X-Number: {number}", f"Set-Cookie: secret{number}", "X-Long: " + "x" * 500)
    assert len(response_head._meanings) <= 4000
    assert not any(b"secret" in line or len(line) > 200 for line, _ in response_head._meanings.items())
    for number in range(5000):
        read(status=f"HTTP/1.1 200 Reason {number}")
    assert len(response_head._statuses) <= 4000

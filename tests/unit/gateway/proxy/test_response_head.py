from __future__ import annotations

import pytest

from gateway.proxy import response_head
from gateway.proxy.errors import BadAnswer
from gateway.proxy.response_head import CHUNKED, UNTIL_CLOSE, AnswerHead, read_head


def read(*lines: str, status: str = "HTTP/1.1 200 OK") -> AnswerHead:
    return read_head("\r\n".join([status, *lines]).encode("latin-1"))


def test_what_may_pass_passes_as_it_was_written() -> None:
    head = read('ETag: W/"1"', "x-Some:value ", "X-Empty:", "X-Latin: caf\xe9")
    assert head.lines == b'ETag: W/"1"\r\nx-Some: value\r\nX-Empty: \r\nX-Latin: caf\xe9\r\n'


@pytest.mark.parametrize(
    "line",
    [
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "TE: x",
        "Trailer: X",
        "Upgrade: h2c",
        "Server: nginx",
        "Date: Sat, 21 Nov 2026 11:00:00 GMT",
        "X-Request-Id: theirs",
        "Connection: close",
        "Content-Length: 1",
    ],
)
def test_fields_of_this_hop_and_those_the_gateway_writes_itself_do_not_pass(line: str) -> None:
    assert read(line, "A: b").lines == b"A: b\r\n"


def test_what_connection_names_does_not_pass() -> None:
    assert read("X-One: 1", "Connection: x-one, keep-alive", "X-Two: 2").lines == b"X-Two: 2\r\n"


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        (["Content-Length: 0"], 0),
        (["content-length:12"], 12),
        (["Transfer-Encoding: Chunked"], CHUNKED),
        ([], UNTIL_CLOSE),
    ],
)
def test_the_length_is_what_the_fields_say(lines: list[str], length: int) -> None:
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
def test_it_is_told_whether_the_connection_is_kept(status: str, lines: list[str], keeps: bool) -> None:
    assert read(*lines, status=status).keeps is keeps


def test_a_type_that_is_not_said_is_bytes() -> None:
    assert read().content_type == b"application/octet-stream"
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
def test_a_line_that_is_none_spoils_the_answer(line: str) -> None:
    for _ in range(2):
        with pytest.raises(BadAnswer):
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
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\x00K",
        "HTTP/1.1 ２００ OK".encode().decode("latin-1"),
    ],
)
def test_a_status_line_that_is_none_spoils_the_answer(status: str) -> None:
    with pytest.raises(BadAnswer):
        read("A: b", status=status)


def test_what_is_remembered_is_bounded_and_holds_no_cookies() -> None:
    for number in range(5000):
        read(f"X-Number: {number}", f"Set-Cookie: secret{number}", "X-Long: " + "x" * 500)
    assert len(response_head._known) <= 2000
    assert not any(b"secret" in line or len(line) > 200 for line in response_head._known)
    for number in range(5000):
        read(status=f"HTTP/1.1 200 Reason {number}")
    assert len(response_head._known_statuses) <= 2000

"""A header section read without the C parser gives exactly the parser's result, or is left to the parser."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.server.http1 import Http1
from gateway.server.plain_head import PlainHeadReader
from gateway.server.protocol_error import ProtocolError

NAMES = st.sampled_from(
    [
        "Host",
        "host",
        "Accept",
        "X-A",
        "x-a",
        "Content-Length",
        "Connection",
        "Expect",
        "Upgrade",
        "Transfer-Encoding",
        "Cookie",
        "Content-Type",
        "X-Amzn-Trace-Id",
        "X-Forwarded-For",
        "TE",
        "X A",
        "X\tA",
        "",
    ]
) | st.text("abXY-_.!#$%&'*+^`|~09", min_size=1, max_size=6)
VALUES = st.sampled_from(
    ["", "shop", " shop ", "\tshop", "keep-alive", "close", "chunked", "0", "12", "+1", "0x10", "12, 12", "h2c"]
) | st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=8)
LINES = st.builds(
    lambda name, colon, value: f"{name}{colon}{value}".encode("latin-1"),
    NAMES,
    st.sampled_from([":", ": ", " :"]),
    VALUES,
)
REQUEST_LINES = st.sampled_from(
    [
        "GET / HTTP/1.1",
        "POST /a?b=c HTTP/1.1",
        "GET http://shop/ HTTP/1.1",
        "get / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET  / HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /<> HTTP/1.1",
        "BREW / HTTP/1.1",
        "GET /# HTTP/1.1",
        "GET / HTTP/2.0",
    ]
).map(lambda line: line.encode("latin-1"))


def read(section: bytes, reader: PlainHeadReader | None) -> object:
    http = Http1(keepalive_s=1.0, receive_timeout_s=1.0, plain_heads=reader)
    try:
        head = http.next_request(section)
    except ProtocolError as error:
        return error.problem
    if head is None:
        return None
    # The parser spells well-known names its own way; their case has no meaning.
    fields = [(name.lower(), value) for name, value in head.headers.items()]
    framing = (head.content_length, head.is_chunked, head.is_http11, head.should_close)
    return head.line.method, head.line.target, fields, framing, http.state


@given(REQUEST_LINES, st.lists(LINES, max_size=6), st.booleans())
def test_both_readers_agree(request_line: bytes, lines: list[bytes], has_host: bool) -> None:
    fields = [b"Host: shop", *lines] if has_host else lines
    section = b"\r\n".join((request_line, *fields, b"", b""))
    reader = PlainHeadReader()
    expected = read(section, None)
    assert read(section, reader) == expected
    # With its lines cached.
    assert read(section, reader) == expected


SHAPED_VALUES = st.sampled_from(
    ["", "shop", "s 1", " s", "s ", "\ts", "s\t", "s\x00", "s\x7f", "\xff", "7", "+7", "close", "keep-alive", "y" * 300]
)
SHAPED_NAMES = st.sampled_from(["Host", "Cookie", "cookie", "Content-Length", "Accept", "Connection", "X-A"])


@given(st.lists(SHAPED_NAMES, min_size=1, max_size=3), st.lists(st.lists(SHAPED_VALUES, min_size=3), min_size=8))
def test_sections_of_one_shape_are_read_each_by_itself(names: list[str], values: list[list[str]]) -> None:
    reader = PlainHeadReader()
    for each in values:
        lines = [f"{name}: {value}".encode("latin-1") for name, value in zip(names, each, strict=False)]
        section = b"\r\n".join((b"GET / HTTP/1.1", b"Host: shop", *lines, b"", b""))
        assert read(section, reader) == read(section, None)


@given(st.lists(st.lists(LINES, max_size=4), min_size=2, max_size=8))
def test_a_section_is_read_alike_after_any_others(sections: list[list[bytes]]) -> None:
    reader = PlainHeadReader()
    for lines in sections:
        section = b"\r\n".join((b"GET / HTTP/1.1", b"Host: shop", *lines, b"", b""))
        assert read(section, reader) == read(section, None)

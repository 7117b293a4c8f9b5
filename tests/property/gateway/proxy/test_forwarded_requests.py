from __future__ import annotations

import asyncio
from typing import Any

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.http.message import Request
from gateway.proxy.address import Address
from gateway.proxy.errors import AmbiguousRequest, NotForwarded
from gateway.proxy.request_head import RequestHeads
from tests.integration.gateway.proxy.raw_upstream import rule

# Characters on which parsers differ, in any mixture.
NASTY = [
    "\r\n",
    "\n",
    "\r",
    "\x00",
    "\x0b",
    "\x7f",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "%2e",
    "%2f",
    "%00",
    "..",
    "/",
    "\\",
    "#",
    "?",
]
NASTY += ["\x85", "\u2028", "\udcff", "HTTP/1.1", "GET / ", "Host: evil", "Content-Length: 5", "chunked", "0", '"']
text = st.lists(st.sampled_from(NASTY) | st.text(max_size=4), max_size=6).map("".join)
names = st.sampled_from(
    [
        "Host",
        "Connection",
        "Transfer-Encoding",
        "Content-Length",
        "Cookie",
        "X-One",
        "X-Forwarded-For",
        "Forwarded",
        "traceparent",
        "tracestate",
        "Via",
        "TE",
        "Upgrade",
        "Expect",
        "Request-Timeout-Ms",
        "X-Forwarded-Host",
    ]
)
fields = st.lists(
    st.tuples(names | text, text | st.sampled_from(["close", "keep-alive, x-one", "chunked", "1.1.1.1"])), max_size=6
)
targets = text | st.lists(st.sampled_from(["/", "a", "%20", ".", "b;c", "%zz", "..", "é"]), max_size=6).map(
    "".join
).map("/".__add__)


class Upstream(BaseProtocol):
    """Reads as aiohttp does, without a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)

    def resume_reading(self, resume_parser: bool = True) -> None: ...


def read(data: bytes) -> list[Any]:
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(Upstream(loop), loop, 2**16, max_line_size=2**16, max_field_size=2**16)
        messages, upgraded, rest = parser.feed_data(data)
        assert (upgraded, rest) == (False, b"")
        return [(message, payload) for message, payload in messages]
    finally:
        loop.close()


@settings(max_examples=1000, deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) | text,
    path=targets,
    query=text,
    given_fields=fields,
    body=st.binary(max_size=40) | st.just(b"GET /second HTTP/1.1\r\nHost: evil\r\n\r\n"),
    trusted=st.booleans(),
    strip=st.booleans(),
    keep_host=st.booleans(),
)
def test_an_upstream_reads_exactly_the_one_request_that_was_sent(
    method: str,
    path: str,
    query: str,
    given_fields: list[tuple[str, str]],
    body: bytes,
    trusted: bool,
    strip: bool,
    keep_host: bool,
) -> None:
    writer = RequestHeads(
        rule(prefix="/a/" if strip else "/", strip_prefix=strip, preserve_host=keep_host),
        is_trusted=lambda _peer: trusted,
    )
    asked = Request(method, path, query, CIMultiDict(given_fields), body, "0123456789abcdef", (), "10.0.0.1")
    try:
        head = writer.of(asked, len(asked.body)).render(Address.parse("http://shop"), 1000)
    except (AmbiguousRequest, NotForwarded):
        return
    sends_body = body or method in {"POST", "PUT", "PATCH"}
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1
    lines = head[:-4].split(b"\r\n")
    assert not any(byte in line for line in lines for byte in (b"\r", b"\n", b"\x00"))
    assert head.count(b"\n") == head.count(b"\r") == len(lines) + 1
    [(message, payload)] = read(head + body)
    assert message.method == method
    sent = (path[2:] or "/") if strip else path
    assert message.path == (f"{sent}?{query}" if query else sent)
    assert message.headers.getall("Content-Length", []) == ([str(len(body))] if sends_body else [])
    assert len(message.headers.getall("Host")) == 1
    for name in ("Transfer-Encoding", "Connection", "TE", "Upgrade", "Expect"):
        assert name not in message.headers
    assert b"".join(payload._buffer if body else []) == body

"""Messages made of good and bad pieces: the server reads as many requests in them as a strict reader, or stops with 400.

What it forwards of them is always whole requests that the strict reader takes, one for each response of the upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass

import uvloop
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.http.endpoint import Endpoint
from gateway.http.router import Router
from gateway.server.server import EdgeServer
from tests.integration.gateway.proxy.raw_upstream import Peer, forwarding
from tests.raw_http import RawClient, RawResponse
from tests.waiting import WITHIN_S

_LINE = re.compile(rb"([A-Z]+) (/[!-~]*|\*|https?://[!-~]+) HTTP/1\.([0-9])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t -~]*)?")


class NotClear(Exception):
    """The strict reader does not take it."""


@dataclass(frozen=True)
class Read:
    """A request as the strict reader took it."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def of(self, name: bytes) -> list[bytes]:
        """All values of a field."""
        return [value for known, value in self.fields if known == name]


def read_one(data: bytes) -> tuple[Read, bytes] | None:
    """The first request (RFC 9112), and what follows; None if it is not whole. Raises `NotClear`."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    fields = []
    for each in lines:
        if (field := _FIELD.fullmatch(each)) is None:
            raise NotClear(each)
        fields.append((field[1].lower(), field[2].rstrip(b" \t")))
    if line is None:
        raise NotClear(first)
    read = Read(line[1], line[2], tuple(fields), b"")
    lengths, encodings = read.of(b"content-length"), read.of(b"transfer-encoding")
    if len(read.of(b"host")) != 1 or len(lengths) + len(encodings) > 1:
        raise NotClear(head)
    if encodings:
        if encodings[0].lower() != b"chunked" or line[3] == b"0":
            raise NotClear(encodings[0])
        chunks = read_chunks(rest)
        if chunks is None:
            return None
        body, rest = chunks
    else:
        length = lengths[0] if lengths else b"0"
        if not re.fullmatch(rb"[0-9]{1,9}", length):
            raise NotClear(length)
        if len(rest) < int(length):
            return None
        body, rest = rest[: int(length)], rest[int(length) :]
    return Read(read.method, read.target, read.fields, body), rest


def read_chunks(data: bytes) -> tuple[bytes, bytes] | None:
    """A body in chunks with its trailers, and what follows; None if it is not whole. Raises `NotClear`."""
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        if (found := _SIZE.fullmatch(line)) is None:
            raise NotClear(line)
        size = int(found[1], 16)
        if not size:
            break
        if len(data) < size + 2:
            return None
        if data[size : size + 2] != b"\r\n":
            raise NotClear(data[size : size + 2])
        body, data = body + data[:size], data[size + 2 :]
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        if not line:
            return body, data
        if _FIELD.fullmatch(line) is None:
            raise NotClear(line)


def requests_in(data: bytes) -> tuple[list[Read], bool]:
    """The requests up to the first fault, and whether all of it was clear."""
    found = []
    try:
        while (one := read_one(data)) is not None:
            found.append(one[0])
            data = one[1]
    except NotClear:
        return found, False
    return found, not data


METHODS = [b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"get", b"GE\x01T", b"CONNECT"]
TARGETS = [
    b"/shop/x",
    b"/shop/x?y=z",
    b"/shop/a%2Fb",
    b"/shop/../x",
    b"/shop/\x00",
    b"/shop/%00",
    b"/shop//x",
    b"/shop/a b",
    b"http://shop/shop/x",
    b"http://other/shop/x",
    b"*",
    b"shop:443",
    b"/shop/x#y",
    b"/shop/\r\nX: y",
    b"/shop/?a\x7f",
]
FIELDS = [
    b"Accept: */*",
    b"X:y",
    b"X: \ty\t ",
    b"X:",
    b"X : y",
    b"X\t: y",
    b" X: y",
    b"X: a\x00b",
    b"X: a\rb",
    b"X: a\nb",
    b"X: a\x0bb",
    b"\x01: y",
    b": y",
    b"no colon",
    b"X: \xff\xfe",
    b"Cookie: a=b",
    b"Connection: X-Secret",
    b"X-Secret: y",
    b"Connection: keep-alive, Transfer-Encoding",
    b"Connection: Content-Length",
    b"Expect: tea",
    b"Host: shop",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer_Encoding: chunked",
    b"Transfer-Encoding : chunked",
    b"TE: trailers",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: +5",
    b"Content-Length: 5, 5",
    b"Content-Length: 0x5",
    b"content-length: 005",
    b"Content-Length: 5 5",
    b"Content-Length:\t5",
    b"Authorization: Bearer a",
    b"Upgrade: h2c",
    b"Forwarded: for=x",
    b"X-Forwarded-For: 1.2.3.4",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
]
BODIES = [
    b"",
    b"",
    b"",
    b"12345",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"3\nabc\n0\n\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"GET /shop/hidden HTTP/1.1\r\nHost: shop\r\n\r\n",
    b"ffffffffffffffff\r\nx",
]


def message(method: bytes, target: bytes, version: bytes, fields: list[bytes], body: bytes, end: bytes) -> bytes:
    """These pieces in their order."""
    lines = [method + b" " + target + b" " + version, b"Host: shop", *fields]
    return end.join([*lines, b"", body])


clear = st.sampled_from(
    [
        b"GET /shop/x HTTP/1.1\r\nHost: shop\r\n\r\n",
        b"POST /shop/x HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\n12345",
        b"GET /shop/x HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\n12345",
        b"DELETE /shop/x HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        b"OPTIONS http://shop/shop/x HTTP/1.1\r\nHost: shop\r\n\r\n",
    ]
)
odd = st.builds(
    message,
    method=st.sampled_from(METHODS),
    target=st.sampled_from(TARGETS),
    version=st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 "]),
    fields=st.lists(st.sampled_from(FIELDS), max_size=4),
    body=st.sampled_from(BODIES),
    end=st.sampled_from([b"\r\n"] * 10 + [b"\n", b"\r"]),
)
streams = st.tuples(st.lists(clear, max_size=2), odd, st.lists(clear, max_size=2)).map(
    lambda parts: b"".join([*parts[0], parts[1], *parts[2]])
)
LAST = b"GET /shop/last HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"


async def answers_to(port: int, sent: bytes, methods: list[str]) -> list[RawResponse]:
    """All responses until the server closes, or has nothing more to say because it waits for the rest."""
    responses: list[RawResponse] = []
    async with await RawClient.open(port) as client:
        with contextlib.suppress(EOFError, ConnectionError):
            await client.send(sent)
            while True:
                asked = methods[len(responses)] if len(responses) < len(methods) else "GET"
                responses.append(await client.response(method=asked))
    return responses


async def play(crowd: list[bytes]) -> None:
    """Every stream on its own connection; then what came to the upstream is read."""
    came: list[bytes] = []
    served = 0

    async def script(peer: Peer) -> None:
        nonlocal served
        came.append(b"")
        mine, done = len(came) - 1, 0
        while data := await peer.reader.read(65536):
            came[mine] += data
            found, _ = requests_in(came[mine])
            for _ in found[done:]:
                served += 1
                await peer.send(b"HTTP/1.1 204 No Content\r\nX-Upstream: yes\r\n\r\n")
            done = len(found)

    async with forwarding(script, prefix="/shop/", timeout_s=5.0, idle_timeout_s=5.0) as (gate, _):
        endpoint = Endpoint("*", "/shop/*", gate.handler, stream_above=2**16, body_limit=2**20)
        edge = EdgeServer(Router([endpoint]), linger_s=0.05, receive_timeout_s=0.1, keepalive_s=0.1)
        server = await asyncio.get_running_loop().create_server(edge.protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with asyncio.timeout(WITHIN_S):
                said = await asyncio.gather(*(one(port, sent + LAST) for sent in crowd))
        finally:
            server.close()
            await edge.drain(0.0)
    for data in came:
        found, all_clear = requests_in(data)
        assert all_clear or data.count(b"\r\n\r\n") > len(found) or not data, data
        for request in found:
            check_forwarded(request)
    assert sum(said) <= served


async def one(port: int, sent: bytes) -> int:
    """Send one stream; how many of its responses are the upstream's."""
    expected, _ = requests_in(sent)
    responses = await answers_to(port, sent, [read.method.decode() for read in expected])
    responses = [response for response in responses if response.status != 100]
    # Whatever came, no more is answered than was asked, but for the refusal of what is no request.
    refusals = [response for response in responses if response.status in {400, 408, 413, 414, 417, 431, 505}]
    assert len(responses) <= len(expected) + 1, (sent, responses)
    if len(responses) > len(expected):
        assert responses[-1].status in {400, 408}, (sent, responses)
    if len(responses) < len(expected):
        assert responses[-1].closes, (sent, responses)
    assert all(response.closes for response in refusals if response.status != 417), (sent, responses)
    return sum("X-Upstream" in response for response in responses)


def check_forwarded(request: Read) -> None:
    """It is one request and says nothing twice, nothing of a hop, nothing that nobody asked."""
    names = [name for name, _ in request.fields]
    assert request.target.startswith(b"/shop/"), request
    for once in (b"host", b"content-length", b"transfer-encoding", b"x-request-id", b"authorization", b"via"):
        assert names.count(once) <= 1, request
    assert not {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"expect", b"trailer"} & {*names}


@settings(
    max_examples=30, phases=[Phase.explicit, Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
)
@given(crowd=st.lists(streams, min_size=20, max_size=40))
def test_every_reader_reads_the_same_requests(crowd: list[bytes]) -> None:
    uvloop.run(play(crowd))

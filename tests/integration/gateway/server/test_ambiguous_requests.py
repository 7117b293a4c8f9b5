"""No request has two readings: what is ambiguous is refused, its connection closed, and what follows it never read.

Behind each of these comes a whole second request, which a server that reads the first one differently would response.
"""

from __future__ import annotations

import contextlib

import pytest
from multidict import CIMultiDict

from gateway.server.request_check import is_host, is_smuggling_risk
from gateway.server.request_line import RequestLine, is_ambiguous_path, split_target
from tests.integration.gateway.small_server import get, small_server

NEXT = get("/dressed")

AMBIGUOUS = {
    "cl+te": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te+cl": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "clcl-diff": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "clcl-same": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "cl-list": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 3, 3\r\n\r\nabc",
    "cl+": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: +3\r\n\r\nabc",
    "cl0x": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 0x3\r\n\r\nabc",
    "cl_us": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 1_0\r\n\r\nabc",
    "cl-empty": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: \r\n\r\n",
    "cl-neg": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: -1\r\n\r\n",
    "cl-huge": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "te-xchunked": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te-identity": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: identity\r\n\r\n",
    "te-chunked,identity": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "te-twice": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-vt": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "obsfold": b"GET /plain HTTP/1.1\r\nHost: shop\r\nX: a\r\n b\r\n\r\n",
    "obsfold-first": b"GET /plain HTTP/1.1\r\n Host: shop\r\n\r\n",
    "bareLF": b"GET /plain HTTP/1.1\nHost: shop\n\n",
    "bareLF-head": b"GET /plain HTTP/1.1\r\nHost: shop\nX: y\r\n\r\n",
    "bareCR": b"GET /plain HTTP/1.1\r\nHost: shop\rX: y\r\n\r\n",
    "bareCR-end": b"GET /plain HTTP/1.1\r\nHost: shop\r\n\r\r\n",
    "sp-colon": b"GET /plain HTTP/1.1\r\nHost : shop\r\n\r\n",
    "tab-colon": b"GET /plain HTTP/1.1\r\nHost: shop\r\nX\t: 1\r\n\r\n",
    "ctl-value": b"GET /plain HTTP/1.1\r\nHost: shop\r\nX: a\x01b\r\n\r\n",
    "nul-value": b"GET /plain HTTP/1.1\r\nHost: shop\r\nX: a\x00b\r\n\r\n",
    "del-value": b"GET /plain HTTP/1.1\r\nHost: shop\r\nX: a\x7fb\r\n\r\n",
    "ctl-name": b"GET /plain HTTP/1.1\r\nHost: shop\r\nX\x01: ab\r\n\r\n",
    "empty-name": b"GET /plain HTTP/1.1\r\nHost: shop\r\n: ab\r\n\r\n",
    "no-colon": b"GET /plain HTTP/1.1\r\nHost: shop\r\nfoo\r\n\r\n",
    "ctl-path": b"GET /pl\x01ain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "nul-path": b"GET /pl\x00ain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "hi-path": b"GET /pl\xc3\xa4in HTTP/1.1\r\nHost: shop\r\n\r\n",
    "tab-line": b"GET\t/plain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "sp-in-path": b"GET /pl ain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "frag": b"GET /plain#x HTTP/1.1\r\nHost: shop\r\n\r\n",
    "backslash": b"GET /plain\\x HTTP/1.1\r\nHost: shop\r\n\r\n",
    "dotdot": b"GET /x/../plain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "dot-enc": b"GET /x/%2e%2e/plain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "enc-nul": b"GET /about/a%00b HTTP/1.1\r\nHost: shop\r\n\r\n",
    "bad-pct": b"GET /about/a%zzb HTTP/1.1\r\nHost: shop\r\n\r\n",
    "abs-other": b"GET http://other/plain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "authority": b"CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n",
    "authority-get": b"GET shop:443 HTTP/1.1\r\nHost: shop\r\n\r\n",
    "star": b"GET * HTTP/1.1\r\nHost: shop\r\n\r\n",
    "nohost": b"GET /plain HTTP/1.1\r\n\r\n",
    "twohost": b"GET /plain HTTP/1.1\r\nHost: shop\r\nHost: b\r\n\r\n",
    "host-empty": b"GET /plain HTTP/1.1\r\nHost: \r\n\r\n",
    "host-empty-1.0": b"GET /plain HTTP/1.0\r\nHost:\r\n\r\n",
    "host-port-only": b"GET /plain HTTP/1.1\r\nHost: :80\r\n\r\n",
    "abs-empty": b"GET http:///plain HTTP/1.0\r\n\r\n",
    "abs-user": b"GET http://u@shop/plain HTTP/1.0\r\n\r\n",
    "te-gzip": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "te-chunked,gzip": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "te-chunked,chunked": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "host-bad": b"GET /plain HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host-list": b"GET /plain HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "host-at": b"GET /plain HTTP/1.1\r\nHost: u@shop\r\n\r\n",
    "0.9": b"GET /plain\r\n\r\n",
    "10-te": b"POST /echo HTTP/1.0\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk-ext-lf": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nxx\r\nabc\r\n0\r\n\r\n",
    "chunk-lf": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "chunk-0x": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "chunk-neg": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "chunk-huge": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
    "chunk-sp": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "chunk-crx": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n",
    "trailer-cl": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
    "method-lower": b"get /plain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "method-odd": b"GE\x01T /plain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "auth-twice": get("/plain", "Authorization: Bearer a", "Authorization: Bearer b"),
    "auth-twice-case": get("/plain", "Authorization: Bearer a", "AUTHORIZATION: Bearer a"),
    "key-twice": get("/plain", "X-Api-Key: a", "x-api-key: b"),
    "room-twice": get("/plain", "Waiting-Room-Token: a", "Waiting-Room-Token: b"),
    "condition-twice": get("/echo", 'If-Match: "1"', 'If-Match: "2"', "Content-Length: 0", method="POST"),
    "idempotency-twice": get("/echo", "Idempotency-Key: a", "Idempotency-Key: b", "Content-Length: 0", method="POST"),
    "type-twice": get("/echo", "Content-Type: a/b", "Content-Type: c/d", "Content-Length: 0", method="POST"),
    "auth-twice-absolute": get("http://shop/plain", "Authorization: Bearer a", "Authorization: Bearer b"),
    "sp-before-crlf": b"GET /plain HTTP/1.1 \r\nHost: shop\r\n\r\n",
    "cl-tab": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length:\t3\t4\r\n\r\nabc",
    "trailer-te": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "te-and-cl-in-names": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc",
    "chunk-no-size": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
    "chunk-plus": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "chunk-end-lf": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
    "cl-name-case": b"POST /echo HTTP/1.1\r\nHost: shop\r\ncOntent-length: 3\r\nCONTENT-LENGTH: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("message", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_an_ambiguous_request_is_rejected_once_and_the_connection_closed(message: bytes) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(message + NEXT)
        assert (await client.response()).status == 400
        await client.closed()
        assert server.finished == []


# A fault inside a body is answered while the rest is still on its way, and the reset may overtake the response.
IN_HEAD = {name: message for name, message in AMBIGUOUS.items() if not name.startswith(("chunk", "trailer"))}


@pytest.mark.parametrize("message", IN_HEAD.values(), ids=IN_HEAD.keys())
async def test_it_is_the_same_when_it_comes_byte_by_byte(message: bytes) -> None:
    async with small_server() as server, await server.client() as client:
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent
            await client.send(*(bytes([byte]) for byte in message), NEXT)
        assert (await client.response()).status == 400
        await client.closed()
        assert server.finished == []


# Known to be one request, but one that this server cannot serve.
UNSUPPORTED = {
    "a later major version": (505, b"GET /plain HTTP/2.0\r\nHost: shop\r\n\r\n"),
    "a version that does not exist": (505, b"GET /plain HTTP/3.7\r\nHost: shop\r\n\r\n"),
    "the preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "an unknown transfer coding": (
        501,
        b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    "a target that is too long": (414, get("/" + "x" * 8 * 1024)),
    "a target that never ends": (414, b"GET /" + b"x" * 40_000),
}


@pytest.mark.parametrize(("status", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_an_unsupported_request_has_a_status_of_its_own_and_is_the_last(
    status: int, message: bytes, size: int
) -> None:
    async with small_server() as server, await server.client() as client:
        with contextlib.suppress(ConnectionError):
            await client.send(*(message[at : at + size] for at in range(0, len(message), size)), NEXT)
        response = await client.response()
        assert (response.status, response.minor_version) == (status, 1)
        assert response.closes
        await client.closed()
        assert server.finished == []


CLEAR = {
    "a later minor version": b"GET /plain HTTP/1.2\r\nHost: shop\r\n\r\n",
    "the last minor version": b"POST /echo HTTP/1.9\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc",
    "a length with a space behind it": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 3 \r\n\r\nabc",
    "a body nobody asked for": b"GET /plain HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc",
    "chunks nobody asked for": b"GET /plain HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an escaped slash": b"GET /about/a%2Fb HTTP/1.1\r\nHost: shop\r\n\r\n",
    "an extension of a chunk": b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
    "several spaces in the request line, which nobody passes on": b"GET  /plain  HTTP/1.1\r\nHost: shop\r\n\r\n",
    "empty lines in front": b"\r\n\r\nGET /plain HTTP/1.1\r\nHost: shop\r\n\r\n",
    "a field that looks like a length": b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent_Length: 30\r\nContent-Length: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("message", CLEAR.values(), ids=CLEAR.keys())
async def test_an_odd_but_unambiguous_request_is_served_and_the_next_one_too(message: bytes) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(message + NEXT)
        assert [response.status for response in await client.responses(2)] == [200, 201]


@pytest.mark.parametrize(
    "path",
    [
        "/..",
        "/../x",
        "/x/..",
        "/x/../y",
        "/./x",
        "/x/.",
        "/%2e%2E/x",
        "/.%2e/x",
        "/%2E/x",
        "/x\\y",
        "/x%5cy",
        "/x%5Cy",
        "/x%00",
        "/x%",
        "/x%2",
        "/x%zz",
        "/x#y",
    ],
)
def test_a_path_that_another_reader_may_take_for_another_is_ambiguous(path: str) -> None:
    assert is_ambiguous_path(path)


@pytest.mark.parametrize(
    "path", ["/", "/x.y", "/...", "/.x", "/x..", "/a%2Fb", "/%C3%A4", "/x%2ey", "//", "/~a;b=c", "/.well-known/x"]
)
def test_other_paths_are_clear(path: str) -> None:
    assert not is_ambiguous_path(path)


@pytest.mark.parametrize(
    "host", ["shop", "shop:80", "SHOP.example.", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:80", "a_b", "x%20y"]
)
def test_a_host_is_a_name_or_an_address_and_a_port(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    ["", ":80", "a b", "a, b", "u@shop", "shop/x", "shop:x", "shop:123456", "[::1", "a?b", "a#b", "sh\u00f6p", "a\n"],
)
def test_other_hosts_are_none(host: str) -> None:
    assert not is_host(host)


SHOP = CIMultiDict({"Host": "shop"})


@pytest.mark.parametrize(
    ("target", "is_risk"),
    [
        ("http://shop/x", False),
        ("HTTP://SHOP/x?y", False),
        ("http://shop:80/x", True),
        ("http://u@shop/x", True),
        ("ftp://shop/x", True),
        ("http://shop/../x", True),
        ("http://shop/x?y#z", True),
    ],
)
def test_an_absolute_target_must_agree_with_the_host(target: str, is_risk: bool) -> None:
    assert is_smuggling_risk(RequestLine("GET", target), SHOP) == is_risk


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/x?y?z", "/x", "y?z"),
        ("http://shop/x?y", "/x", "y"),
        ("http://shop", "/", ""),
        ("https://shop?y", "/", "y"),
        ("*", "*", ""),
    ],
)
def test_a_target_has_a_path_and_a_query(target: str, path: str, query: str) -> None:
    assert split_target(target) == (path, query)

"""The short path and aiohttp's normal way give the same answers, whatever the request."""

from __future__ import annotations

import logging

import pytest

from tests.integration.gateway.small_server import SMALL, chunked, get, post, small_server
from tests.raw_http import Answer

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
TRACED = f"traceparent: {TRACE}"

REQUESTS = {
    "a get": get("/plain"),
    "a get with a query": get("/about/x?a=1&b=%20c&d"),
    "a path with everything encoded": get("/about/a%2Fb%20%C3%A9%25%3F"),
    "a get with extra headers": get("/dressed", "Accept: text/html", "X-Whatever: yes"),
    "a head": get("/plain", method="HEAD"),
    "a head of something dressed": get("/dressed", method="HEAD"),
    "a head of nothing": get("/nothing", method="HEAD"),
    "a head of what is not there": get("/nowhere", method="HEAD"),
    "nothing": get("/nothing"),
    "not modified": get("/same"),
    "an empty body": get("/empty"),
    "a body of 100,000 bytes": get("/big"),
    "a handler that waits": get("/hop"),
    "not found": get("/nowhere"),
    "not found, with a body": post("/nowhere", b"{}"),
    "not found, undecodable": get("/about/%FF"),
    "not found, empty segment": get("/about/"),
    "not found, root": get("/"),
    "not allowed": get("/plain", method="DELETE"),
    "not allowed, with a body": post("/plain", b"{}", method="PATCH"),
    "a method nobody knows here": get("/plain", method="PROPFIND"),
    "options": get("/plain", method="OPTIONS"),
    "options of what is not there": get("/nowhere", method="OPTIONS"),
    "a post": post("/echo", b'{"a":1}', "Content-Type: application/json"),
    "a put": post("/echo", b"x", method="PUT"),
    "a post without a length": get("/echo", method="POST"),
    "a post of nothing": post("/echo", b""),
    "a post in chunks": chunked("/echo", b"one", b"two", b"three"),
    "a post in no chunks": chunked("/echo"),
    "a post in chunks with trailers": chunked("/echo", b"one", trailers=b"Digest: x\r\n"),
    "a body just small enough": post("/small", b"x" * SMALL),
    "a body too large": post("/small", b"x" * (SMALL + 1)),
    "a chunked body too large": chunked("/small", b"x" * SMALL, b"x"),
    "a body for a get": post("/plain", b"ignored", method="GET"),
    "a body too large for a get": post("/plain", b"x" * 70_000, method="GET"),
    "an encoded body": post("/echo", b"\x1f\x8b", "Content-Encoding: gzip"),
    "an encoded body for what is not there": post("/nowhere", b"\x1f\x8b", "Content-Encoding: gzip"),
    "an encoded body by its name only": get("/plain", "Content-Encoding: gzip"),
    "an encoded body of nothing": post("/echo", b"", "Content-Encoding: gzip"),
    "a body that waits to be wanted but came": post("/echo", b"x", "Expect: 100-continue"),
    "an expectation without a body": get("/plain", "Expect: 100-continue"),
    "an expectation nobody can meet": post("/echo", b"x", "Expect: tea"),
    "an expectation nobody can meet, without a body": get("/plain", "Expect: tea"),
    "the last request": get("/plain", "Connection: close"),
    "the last request, with a body": post("/echo", b"x", "Connection: close"),
    "the last request, not found": get("/nowhere", "Connection: close"),
    "a request to be kept": get("/plain", "Connection: keep-alive"),
    "a refusal": get("/refused"),
    "a refusal with facts": get("/limited"),
    "an error": get("/broken"),
    "a store that is away": get("/away"),
    "a store that is overloaded": get("/overloaded"),
    "a cancelled wait": get("/cancelled"),
}


def by_the_normal_way(request: bytes) -> bytes:
    """The same request with its target in absolute form, which the short path leaves alone."""
    method, _, rest = request.partition(b" ")
    return method + b" http://shop" + rest


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "peakgate")


@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS.keys())
async def test_both_ways_give_the_same_answer(request_bytes: bytes) -> None:
    async with small_server() as server:
        answers: list[Answer] = []
        for sent in (request_bytes, by_the_normal_way(request_bytes)):
            traced = sent.replace(b"\r\n", b"\r\n" + TRACED.encode() + b"\r\n", 1)
            async with await server.client() as client:
                answers.append(await client.ask(traced))
                if not answers[-1].closes:
                    # The connection is in order for the next request.
                    assert (await client.ask(get("/plain"))).status == 200
                else:
                    await client.closed()
        short, normal = answers
        assert short.without("Date") == normal.without("Date")
        assert short["X-Request-Id"] == TRACE.split("-")[1]
        assert "Date" in normal
        assert normal["Server"] == "peakgate"
        if short.status >= 400:
            assert short.closes or short.status in {404, 405, 415, 417, 422, 500, 503}
            if not request_bytes.startswith(b"HEAD"):
                assert short.problem == normal.problem


NOT_SHORT = {
    "an encoded body",
    "an encoded body for what is not there",
    "a body that waits to be wanted but came",
    "an expectation nobody can meet",
    "a body too large for a get",
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_the_short_path_takes_what_is_whole_and_hot(name: str) -> None:
    async with small_server() as server, await server.client() as client:
        await client.ask(REQUESTS[name])
        assert server.normal_requests == (name in NOT_SHORT)


@pytest.mark.parametrize("name", ["a get", "a post", "a post in chunks", "an error", "not found"])
async def test_an_absolute_target_goes_the_normal_way(name: str) -> None:
    async with small_server() as server, await server.client() as client:
        await client.ask(by_the_normal_way(REQUESTS[name]))
        assert server.normal_requests == 1

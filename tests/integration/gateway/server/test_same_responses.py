"""A request gets the same response whether it arrives whole, in pieces, pipelined or with an absolute target."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.integration.gateway.small_server import SMALL, chunked, get, post, small_server
from tests.raw_http import RawResponse

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


def with_absolute_target(request: bytes) -> bytes:
    """The same request with its target in absolute form (RFC 9112, 3.2.2)."""
    method, _, rest = request.partition(b" ")
    return method + b" http://shop" + rest


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "peakgate")


# A body that comes later is asked for first.
ASKED_FOR = {"a body that waits to be wanted but came"}


@pytest.mark.parametrize("name", REQUESTS)
async def test_the_response_is_the_same_however_the_request_arrives(name: str) -> None:
    request = REQUESTS[name]
    traced = request.replace(b"\r\n", b"\r\n" + TRACED.encode() + b"\r\n", 1)
    size = max(1, len(traced) // 200)
    pieces = [traced[start : start + size] for start in range(0, len(traced), size)]
    async with small_server() as server:
        responses: list[RawResponse] = []
        for sent in ([traced], [with_absolute_target(traced)], pieces, [get("/plain") + traced]):
            async with await server.client() as client:
                await client.send(*sent)
                if sent[0].startswith(get("/plain")) and len(sent[0]) > len(traced):
                    assert (await client.response()).status == 200
                if sent is pieces and name in ASKED_FOR:
                    assert await client.interim() == 100
                responses.append(await client.response(method=request.partition(b" ")[0].decode()))
                if not responses[-1].closes:
                    # The connection is in order for the next request.
                    assert (await client.request(get("/plain"))).status == 200
                else:
                    await client.closed()
        whole = responses[0]
        assert len({response.without("Date") for response in responses}) == 1
        assert whole["X-Request-Id"] == TRACE.split("-")[1]
        assert "Date" in whole
        assert whole["Server"] == "peakgate"
        if whole.status >= 400:
            assert whole.closes or whole.status in {404, 405, 415, 417, 422, 500, 503}
            if not request.startswith(b"HEAD"):
                assert {response.problem for response in responses} == {whole.problem}


# A large response is sent as the client reads it.
NEED_A_TASK = {"a body of 100,000 bytes"}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_hot_request_that_arrives_whole_needs_no_task(name: str) -> None:
    started: list[str] = []

    def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        started.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async with small_server() as server, await server.client() as client:
        asyncio.get_running_loop().set_task_factory(make_task)
        await client.request(REQUESTS[name])
        asyncio.get_running_loop().set_task_factory(None)
        assert any(name.startswith("Connection.") for name in started) == (name in NEED_A_TASK)

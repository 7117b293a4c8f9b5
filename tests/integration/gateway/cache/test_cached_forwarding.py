"""The response cache in front of a real upstream, with a breaker."""

from __future__ import annotations

import asyncio

from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Breaker as Table
from gateway.config.policies import Cache
from gateway.http.message import Handler, Request, Response, StreamedResponse, resolve
from gateway.resilience.breaker import Breaker
from tests.integration.gateway.proxy.raw_upstream import Peer, always, forwarding, request, whole
from tests.unit.gateway.cache.cached_origin import Clock, cache_status

KEPT = (
    b'HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nCache-Control: max-age=60\r\nETag: "1"\r\nCache-Tag: style\r\n'
    b"Content-Length: 5\r\n\r\nhello"
)
UNCHANGED = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=60\r\n\r\n'


async def send(cached: Handler, asked: Request | None = None) -> Response:
    return await resolve(cached(asked or request()))


async def test_fifty_concurrent_requests_are_one_request_to_the_upstream() -> None:
    clock = Clock()
    async with forwarding(always(KEPT)) as (gate, servers):
        cached = response_cache(ResponseCache(Cache(), clock=clock, now=clock.wall))(gate.handler)
        responses = await asyncio.gather(*(send(cached) for _ in range(50)))
        assert {(response.status, response.content_type, response.body) for response in responses} == {
            (200, b"text/css", b"hello")
        }
        assert isinstance(cached(request()), Response)
        assert len(servers[0].requests) == 1
        assert b"Cache-Tag" not in responses[0].header_block


async def test_a_stale_response_is_validated_with_the_upstream() -> None:
    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            await peer.send(UNCHANGED if b'\r\nIf-None-Match: "1"\r\n' in asked else KEPT)

    clock = Clock()
    async with forwarding(script) as (gate, servers):
        cached = response_cache(ResponseCache(Cache(), clock=clock, now=clock.wall))(gate.handler)
        for _ in range(3):
            assert (await send(cached)).body == b"hello"
            assert (await send(cached, request(if_none_match='"1"'))).status == 304
            clock.time += 61
        assert len(servers[0].requests) == 3


async def test_only_the_first_request_waits_for_an_upstream_that_hangs() -> None:
    hangs = False

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if hangs:
                await peer.closed()
            await peer.send(KEPT)

    class Guard:
        """A breaker in the form of forwarding's port."""

        def __init__(self, breaker: Breaker) -> None:
            self.breaker = breaker

        def try_enter(self) -> bool:
            return self.breaker.admits()

        def succeeded(self, elapsed_s: float) -> None:
            self.breaker.record(calls=1, failures=0)

        def failed(self, reason: str) -> None:
            self.breaker.record(calls=1, failures=1)

        def abandoned(self) -> None:
            pass

    clock = Clock()
    breaker = Breaker("shop", Table(min_calls=1), clock=clock)
    async with forwarding(script, guard=Guard(breaker), retries=0) as (gate, servers):
        layer = response_cache(ResponseCache(Cache(), clock=clock, now=clock.wall), is_tripped=breaker.is_rejecting)
        cached = layer(gate.handler)
        await send(cached)
        await send(cached, request(path="/others"))
        clock.time += 61
        hangs = True
        assert (await send(cached)).body == b"hello"
        assert breaker.is_rejecting()
        for path in ("/things", "/others"):
            response = cached(request(path=path))
            assert isinstance(response, Response)
            assert cache_status(response) == "hit; ttl=-1; detail=tripped"
        assert len(servers[0].requests) == 3


async def test_a_long_response_is_streamed_and_not_stored() -> None:
    size = 4 * 1024 * 1024
    response = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    cache = ResponseCache(Cache())
    async with forwarding(always(response)) as (gate, _servers):
        cached = response_cache(cache)(gate.handler)
        for _ in range(2):
            got = await send(cached)
            assert isinstance(got, StreamedResponse)
            assert len(await whole(got)) == size
        assert cache.snapshot()["entries"] == 0

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


async def ask(front: Handler, asked: Request | None = None) -> Response:
    return await resolve(front(asked or request()))


async def test_fifty_shoppers_are_one_request_to_the_upstream_and_then_none() -> None:
    clock = Clock()
    async with forwarding(always(KEPT)) as (gate, servers):
        front = response_cache(ResponseCache(Cache(), clock=clock, now=clock.wall))(gate.handler)
        answers = await asyncio.gather(*(ask(front) for _ in range(50)))
        assert {(answer.status, answer.content_type, answer.body) for answer in answers} == {
            (200, b"text/css", b"hello")
        }
        assert isinstance(front(request()), Response)
        assert len(servers[0].requests) == 1
        assert b"Cache-Tag" not in answers[0].header_block


async def test_what_is_stale_is_validated_with_the_upstream() -> None:
    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            await peer.send(UNCHANGED if b'\r\nIf-None-Match: "1"\r\n' in asked else KEPT)

    clock = Clock()
    async with forwarding(script) as (gate, servers):
        front = response_cache(ResponseCache(Cache(), clock=clock, now=clock.wall))(gate.handler)
        for _ in range(3):
            assert (await ask(front)).body == b"hello"
            assert (await ask(front, request(if_none_match='"1"'))).status == 304
            clock.time += 61
        assert len(servers[0].requests) == 3


async def test_an_upstream_that_hangs_is_waited_for_once_and_then_served_stale() -> None:
    hangs = False

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if hangs:
                await peer.gone()
            await peer.send(KEPT)

    class Guard:
        """A breaker as forwarding asks one."""

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
    breaker = Breaker("shop", Table(minimum_calls=1), clock=clock)
    async with forwarding(script, guard=Guard(breaker), retries=0) as (gate, servers):
        layer = response_cache(ResponseCache(Cache(), clock=clock, now=clock.wall), is_tripped=breaker.is_rejecting)
        front = layer(gate.handler)
        await ask(front)
        await ask(front, request(path="/others"))
        clock.time += 61
        hangs = True
        assert (await ask(front)).body == b"hello"
        assert breaker.is_rejecting()
        for path in ("/things", "/others"):
            answer = front(request(path=path))
            assert isinstance(answer, Response)
            assert cache_status(answer) == "hit; ttl=-1; detail=tripped"
        assert len(servers[0].requests) == 3


async def test_what_is_long_is_streamed_through_and_not_kept() -> None:
    size = 4 * 1024 * 1024
    answer = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    cache = ResponseCache(Cache())
    async with forwarding(always(answer)) as (gate, _servers):
        front = response_cache(cache)(gate.handler)
        for _ in range(2):
            got = await ask(front)
            assert isinstance(got, StreamedResponse)
            assert len(await whole(got)) == size
        assert cache.snapshot()["entries"] == 0

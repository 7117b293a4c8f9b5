"""The access log names the upstream of a request and its time, however the request ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Cache
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response
from tests.integration.gateway.proxy.raw_upstream import OK, Peer, Script, always, forwarding, request
from tests.integration.gateway.proxy.test_through_the_server import front
from tests.integration.gateway.small_server import get, post
from tests.waiting import WITHIN_S, until


async def _broken(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def _silent(peer: Peer) -> None:
    await peer.closed()


def noting(calls: list[tuple[int, tuple[str, float] | None]]) -> Callable[[Endpoint, Request, Response, float], None]:
    def log(_endpoint: Endpoint, request: Request, response: Response, _elapsed_s: float) -> None:
        calls.append((response.status, request.upstream_call))

    return log


@pytest.mark.parametrize(
    ("script", "status"), [(always(OK), 200), (_broken, 502), (_silent, 504)], ids=["answers", "breaks", "is silent"]
)
@pytest.mark.parametrize("sent", [(get("/shop/x"),), (post("/shop/x", b"ab")[:-1], b"b")], ids=["whole", "streamed"])
async def test_a_forwarded_request_has_its_upstream(script: Script, status: int, sent: tuple[bytes, ...]) -> None:
    calls: list[tuple[int, tuple[str, float] | None]] = []
    timeout_s = 0.3 if script is _silent else WITHIN_S
    async with front(script, timeout_s=timeout_s, idle_timeout_s=timeout_s, retries=0) as made:
        made.edge.access_log = noting(calls)
        assert (await (await made.client()).request(*sent)).status == status
        await until(lambda: calls)
    [(logged, call)] = calls
    assert logged == status
    assert call is not None
    assert call[0] == "shop"
    assert call[1] >= 0


async def test_a_request_whose_client_hung_up_has_its_upstream() -> None:
    calls: list[tuple[int, tuple[str, float] | None]] = []
    async with front(_silent) as made:
        made.edge.access_log = noting(calls)
        client = await made.client()
        await client.send(get("/shop/x"))
        await until(lambda: made.upstream.connections)
        client.writer.close()
        await until(lambda: calls)
    assert calls[0][0] == 499
    assert calls[0][1] is not None


async def test_a_request_of_this_gateway_has_none() -> None:
    calls: list[tuple[int, tuple[str, float] | None]] = []
    async with front(always(OK)) as made:
        made.edge.access_log = noting(calls)
        await (await made.client()).request(get("/own"))
        await until(lambda: calls)
    assert calls == [(200, None)]


async def test_a_fetch_of_the_cache_has_its_upstream_and_a_hit_has_none() -> None:
    stored = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok"
    async with forwarding(always(stored)) as (gate, _):
        gate.handler = response_cache(ResponseCache(Cache()))(gate.handler)
        fetched, hit = request(), request()
        await gate.send(fetched)
        await gate.send(hit)
    assert fetched.upstream_call is not None
    assert hit.upstream_call is None

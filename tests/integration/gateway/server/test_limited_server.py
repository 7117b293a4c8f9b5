"""Rate limits in front of a route of the real server, both ways through it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway.config.policies import Limit
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response
from gateway.http.router import Router
from gateway.ratelimit.rate_limit import rate_limit
from gateway.ratelimit.redis_quota import RedisQuota
from gateway.server.server import EdgeServer
from store import Client
from tests.integration.gateway.small_server import get
from tests.raw_http import RawClient, RawResponse

FIFTY = Limit(name="fifty", by="address", quota=50, window_s=3_600.0)


@pytest.mark.parametrize("hot", [True, False])
async def test_fifty_of_two_hundred_requests_over_many_connections_pass(store: Client, hot: bool) -> None:
    quota = RedisQuota(store, share=1.0, timeout_s=10.0)
    limited = rate_limit([FIFTY], quota, route="GET /x", mark=_not_alone)

    async def handler(_request: Request) -> Response:
        # It waits as handlers do: for the store.
        return Response(200, await store.execute("ECHO", '{"x":true}'))

    edge = EdgeServer(Router([Endpoint("GET", "/x", limited(handler), hot=hot)]), linger_s=0.05)
    server = await asyncio.get_running_loop().create_server(edge.protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    responses = [
        response for some in await asyncio.gather(*(_ten_requests(port) for _ in range(20))) for response in some
    ]
    server.close()
    await edge.drain(0.0)
    await quota.close()
    passed = [response for response in responses if response.status == 200]
    refused = [response for response in responses if response.status == 429]
    assert (len(passed), len(refused)) == (50, 150)
    assert {response["RateLimit-Policy"] for response in responses} == {'"fifty";q=50;w=3600'}
    assert min(_left(passed)) == 0
    assert set(_left(refused)) == {0}
    assert {response.problem for response in refused} == {"quota-exceeded"}
    assert all(int(response["Retry-After"]) >= 72 for response in refused)


async def _ten_requests(port: int) -> list[RawResponse]:
    """Pipelined on one connection."""
    async with await RawClient.open(port) as client:
        await client.send(get("/x") * 10)
        return await client.responses(10)


def _left(responses: list[RawResponse]) -> Iterator[int]:
    for response in responses:
        _, left, wait = response["RateLimit"].split(";")
        assert 0 < int(wait.removeprefix("t=")) <= 72
        yield int(left.removeprefix("r="))


def _not_alone(_request: Request, _what: str) -> None:
    raise AssertionError("the store was not asked")

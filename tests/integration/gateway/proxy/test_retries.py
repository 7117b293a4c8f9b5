from __future__ import annotations

import asyncio

import pytest

from tests.integration.gateway.proxy.raw_upstream import OK, Peer, always, forwarding, request, unused_url
from tests.waiting import until


class ClosesIdle:
    """Responds to one request on each connection, and closes when the second arrives."""

    def __init__(self, stale: int = 1_000_000) -> None:
        self.stale = stale

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        self.stale -= 1
        peer.reset()


async def test_an_idle_connection_that_was_closed_is_retried_free() -> None:
    async with forwarding(ClosesIdle(), retries=0, table={"failures_to_eject": 1}) as (gate, servers):
        left = gate.upstream.budget.remaining
        assert await gate.body_of() == b"ok"
        assert await gate.body_of() == b"ok"
        assert servers[0].connections == 2
        assert gate.upstream.retries == {"free": 1}
        assert gate.upstream.budget.remaining >= left
        assert gate.upstream.targets[0].health.state == "healthy"


async def test_a_request_that_is_not_idempotent_is_not_retried() -> None:
    async with forwarding(ClosesIdle(), retries=5) as (gate, servers):
        assert await gate.body_of() == b"ok"
        assert (await gate.send(request("POST", body=b"{}"))).status == 502
        assert len(servers[0].requests) == 2
        assert gate.upstream.retries == {}


async def test_a_retry_goes_to_another_target() -> None:
    async with forwarding(unused_url(), always(OK), table={"failures_to_eject": 1000}) as (gate, _):
        for _ in range(30):
            assert await gate.body_of() == b"ok"
        assert gate.upstream.outcomes == {"2xx": 30}
        assert gate.upstream.retries["budgeted"] > 0


async def test_retries_are_bounded_in_number() -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with forwarding(reset, retries=3) as (gate, servers):
        assert (await gate.send()).status == 502
        assert len(servers[0].requests) == 4


async def test_retries_are_bounded_by_the_budget() -> None:
    async with forwarding(unused_url(), retries=1, table={"failures_to_eject": 1000}) as (gate, _):
        while gate.upstream.retries["denied"] == 0:
            await gate.send()
        asked, retried = gate.upstream.outcomes["connect_failed"], gate.upstream.retries["budgeted"]
        # 10 a second over ten seconds, and one for every five requests.
        assert retried <= 100 + 10 + asked * 0.2


async def test_a_partial_response_is_not_retried() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 2")
        peer.reset()

    async with forwarding(script, retries=5) as (gate, servers):
        assert (await gate.send()).status == 502
        assert len(servers[0].requests) == 1


async def test_all_attempts_share_one_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            peer.reset()
        await peer.closed()

    async with forwarding(script, retries=5, timeout_s=1.0) as (gate, servers):
        assert (await gate.send()).status == 504
        assert len(servers[0].requests) == 2
        second = servers[0].requests[1]
        left_ms = int(second.partition(b"Request-Timeout-Ms: ")[2].partition(b"\r\n")[0])
        assert 0 < left_ms <= 1000


# Connections


async def test_the_connection_used_last_is_taken_first() -> None:
    async with forwarding(always(OK)) as (gate, servers):
        await asyncio.gather(*(gate.send() for _ in range(5)))
        assert servers[0].connections == 5
        assert gate.upstream.targets[0].pool.idle == 5
        newest = gate.upstream.targets[0].pool._idle[-1]
        for _ in range(3):
            await gate.send()
            assert gate.upstream.targets[0].pool._idle[-1] is newest
        assert servers[0].connections == 5


async def test_idle_connections_are_closed() -> None:
    async with forwarding(always(OK)) as (gate, servers):
        await gate.send()
        target = gate.upstream.targets[0]
        target.pool._idle[0].idle_since -= 3600
        await until(lambda: servers[0].open == 0)
        assert target.pool.idle == 0


async def test_connections_are_bounded_and_waiting_requests_get_the_next() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await go_on.wait()
            await peer.send(OK)

    async with forwarding(script, table={"max_connections": 2}, timeout_s=20.0) as (gate, servers):
        asking = [asyncio.ensure_future(gate.send()) for _ in range(4)]
        await until(lambda: len(servers[0].requests) == 2)
        # As many wait as are served; more are rejected at once.
        refused = await gate.send()
        assert refused.status == 503
        assert b"Retry-After" in refused.header_block
        go_on.set()
        assert {(await each).status for each in asking} == {200}
        assert servers[0].connections == 2
        assert gate.upstream.outcomes["pool_full"] == 1


async def test_a_request_that_waits_too_long_for_a_connection_is_a_503() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    table = {"max_connections": 1, "connect_timeout_s": 0.1}
    async with forwarding(script, table=table, timeout_s=20.0) as (gate, servers):
        first = asyncio.ensure_future(gate.send())
        await until(lambda: servers[0].requests)
        assert (await gate.send()).status == 503
        assert gate.upstream.targets[0].health.state == "healthy"
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_lost_connection_makes_room_for_a_waiting_request() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await go_on.wait()
        if peer.number > 1:
            await peer.send(OK)

    async with forwarding(script, table={"max_connections": 1}, timeout_s=20.0) as (gate, servers):
        first = asyncio.ensure_future(gate.send(request("POST")))
        await until(lambda: servers[0].requests)
        second = asyncio.ensure_future(gate.send())
        await until(lambda: gate.upstream.targets[0].outstanding == 2)
        go_on.set()
        assert (await first).status == 502
        assert (await second).status == 200


async def test_cancelling_while_waiting_or_connecting_leaks_nothing() -> None:
    async with forwarding(always(OK), table={"max_connections": 2}, timeout_s=20.0) as (gate, _):
        target = gate.upstream.targets[0]
        for turns in range(12):
            asking = [asyncio.ensure_future(gate.send()) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await until(lambda: target.outstanding == 0)
            assert (await gate.send()).status == 200

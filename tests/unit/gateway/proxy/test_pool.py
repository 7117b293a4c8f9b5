"""The connection pool of a target, over connections that a test opens and closes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from gateway.proxy.address import Address
from gateway.proxy.connection import Connection
from gateway.proxy.errors import ConnectFailed, PoolFull, ResponseTimeout, UpstreamFault
from gateway.proxy.pool import IDLE_S, SWEEP_S, ConnectionPool
from tests.unit.gateway.proxy.test_connection import OK, Wire, send
from tests.virtual_time import in_virtual_time, loop_time

FAR = 1e9


class Network:
    """Opens a connection at once, or fails."""

    def __init__(self) -> None:
        self.opened: list[Connection] = []
        self.error: Exception | None = None

    async def create_connection(self, factory: Callable[[], Any], *_address: object, **_options: object) -> object:
        if self.error is not None:
            raise self.error
        connection: Connection = factory()
        connection.connection_made(Wire())
        self.opened.append(connection)
        return None, connection


@pytest.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", network.create_connection)
    return network


def pool_of(max_connections: int) -> ConnectionPool:
    return ConnectionPool(
        Address.parse("http://shop.internal"),
        max_connections=max_connections,
        connect_timeout_s=60.0,
        buffer_bytes=2**16,
        tls=ssl.create_default_context(),
        on_stream_end=lambda _fault: None,
    )


async def waiting(pool: ConnectionPool) -> asyncio.Task[Connection]:
    task = asyncio.create_task(pool.obtain(FAR))
    await asyncio.sleep(0)
    return task


def serve(connection: Connection) -> None:
    """One exchange, which releases the connection."""
    send(connection)
    connection.data_received(OK)


async def test_a_released_connection_goes_to_the_request_that_waits_longest(network: Network) -> None:
    pool = pool_of(2)
    first, second = await pool.obtain(FAR), await pool.obtain(FAR)
    waiters = [await waiting(pool), await waiting(pool)]
    assert pool.outstanding == 4
    serve(second)
    serve(first)
    assert [await waiter for waiter in waiters] == [second, first]
    assert (len(network.opened), pool.idle, pool.outstanding) == (2, 0, 2)
    pool.close()


async def test_a_closed_connection_is_not_handed_to_a_waiting_request(network: Network) -> None:
    pool = pool_of(1)
    first = await pool.obtain(FAR)
    waiter = await waiting(pool)
    serve(first)
    # The upstream closes it before the request that got it runs.
    first.connection_lost(None)
    second = await waiter
    assert second is not first
    assert second.is_open
    assert network.opened == [first, second]
    assert pool.outstanding == 1
    pool.close()


async def test_a_connection_that_a_cancelled_request_got_goes_to_the_next(network: Network) -> None:
    pool = pool_of(2)
    first, _ = await pool.obtain(FAR), await pool.obtain(FAR)
    cancelled, following = await waiting(pool), await waiting(pool)
    serve(first)
    cancelled.cancel()
    assert await following is first
    assert cancelled.cancelled()
    assert len(network.opened) == 2
    pool.close()


async def test_a_closed_connection_that_a_cancelled_request_got_is_not_idle(network: Network) -> None:
    pool = pool_of(1)
    first = await pool.obtain(FAR)
    waiter = await waiting(pool)
    serve(first)
    first.connection_lost(None)
    waiter.cancel()
    await asyncio.wait({waiter})
    assert (pool.idle, pool.outstanding) == (0, 0)


async def test_a_lost_connection_makes_room_for_a_new_one(network: Network) -> None:
    pool = pool_of(1)
    first = await pool.obtain(FAR)
    waiter = await waiting(pool)
    send(first)
    first.time_out()
    assert await waiter is not first
    pool.close()


async def test_an_idle_connection_that_closes_is_not_taken(network: Network) -> None:
    pool = pool_of(2)
    first = await pool.obtain(FAR)
    serve(first)
    assert pool.idle == 1
    first.connection_lost(None)
    assert (pool.idle, pool.take()) == (0, None)
    assert await pool.obtain(FAR) is network.opened[1]
    pool.close()


async def test_as_many_requests_may_wait_as_are_served(network: Network) -> None:
    pool = pool_of(1)
    first = await pool.obtain(FAR)
    waiter = await waiting(pool)
    with pytest.raises(PoolFull):
        await pool.obtain(FAR)
    serve(first)
    assert await waiter is first
    pool.close()


async def test_a_failed_connection_makes_room_for_a_waiting_request(network: Network) -> None:
    pool = pool_of(1)
    network.error = OSError("refused")
    first = await waiting(pool)
    second = await waiting(pool)
    for failing in (first, second):
        with pytest.raises(ConnectFailed, match="refused"):
            await failing
    assert pool.outstanding == 0


async def test_a_smaller_maximum_closes_released_connections(network: Network) -> None:
    pool = pool_of(2)
    first, second = await pool.obtain(FAR), await pool.obtain(FAR)
    pool.max_connections = 1
    serve(first)
    assert not first.is_open
    serve(second)
    assert (second.is_open, pool.idle) == (True, 1)
    pool.close()


async def test_a_retired_pool_closes_idle_and_released_connections(network: Network) -> None:
    pool = pool_of(2)
    first, second = await pool.obtain(FAR), await pool.obtain(FAR)
    serve(first)
    pool.retire()
    assert not first.is_open
    serve(second)
    assert not second.is_open
    assert pool.idle == pool.outstanding == 0


async def test_closing_fails_requests_in_progress_and_those_that_wait(network: Network) -> None:
    pool = pool_of(1)
    first = await pool.obtain(FAR)
    responding = send(first)
    waiter = await waiting(pool)
    pool.close()
    faults: list[UpstreamFault] = []
    for failing in (responding, waiter):
        with pytest.raises(ConnectFailed) as fault:
            await failing
        faults.append(fault.value)
    assert len(faults) == 2
    with pytest.raises(ConnectFailed):
        await pool.obtain(FAR)


def virtual_pool(network: Network) -> ConnectionPool:
    asyncio.get_running_loop().create_connection = network.create_connection  # type: ignore[method-assign, assignment]
    return pool_of(1)


@in_virtual_time
async def test_a_deadline_counts_from_the_sweep_after_it_so_that_a_stalled_loop_reads_first() -> None:
    pool = virtual_pool(Network())
    connection = await pool.obtain(FAR)
    responding = connection.request(b"", is_bodiless=False, deadline=2.5 * SWEEP_S, idle_timeout_s=1.0)
    with pytest.raises(ResponseTimeout):
        await responding
    assert loop_time() == pytest.approx(4 * SWEEP_S)


@in_virtual_time
async def test_a_request_that_waits_too_long_for_a_connection_fails() -> None:
    pool = virtual_pool(Network())
    await pool.obtain(FAR)
    with pytest.raises(PoolFull):
        await pool.obtain(2.5 * SWEEP_S)
    assert loop_time() == pytest.approx(4 * SWEEP_S)
    pool.close()


@in_virtual_time
async def test_an_idle_connection_is_closed_after_its_time() -> None:
    network = Network()
    pool = virtual_pool(network)
    serve(await pool.obtain(FAR))
    await asyncio.sleep(IDLE_S - SWEEP_S)
    assert pool.idle == 1
    await asyncio.sleep(3 * SWEEP_S)
    assert pool.idle == 0
    assert not network.opened[0].is_open

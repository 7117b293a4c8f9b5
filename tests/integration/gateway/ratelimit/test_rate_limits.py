"""Quotas in a real store: exact while it is available, local while it is not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.config.policies import Limit
from gateway.http.message import Request, Response, resolve
from gateway.ratelimit.batch_sender import TIMEOUT_S
from gateway.ratelimit.rate_limit import rate_limit
from gateway.ratelimit.redis_quota import PARTITIONS, RedisQuota
from store import Client, open_client
from store.embedded import EmbeddedServer
from tests.waiting import WITHIN_S, until

FIFTY = Limit(name="fifty", by="address", quota=50, window_s=3_600.0)
ALL = Limit(name="all", by="global", quota=80, window_s=3_600.0)
# A busy machine must not make a test of the store's decisions get local ones.
PATIENT_S = 10.0
ROOT = Path(__file__).parents[3]


class Edge:
    """A handler behind limits, in this process."""

    def __init__(
        self, client: Client, *limits: Limit, share: float = 1.0, timeout_s: float = TIMEOUT_S, partitions: int = 1
    ) -> None:
        self.quota = RedisQuota(client, share=share, timeout_s=timeout_s, partitions=partitions)
        self.marked = 0
        self._handler = rate_limit(limits, self.quota, route="GET /x", mark=self._mark)(lambda _request: Response(200))

    @property
    def is_local(self) -> bool:
        """Whether this process decides alone."""
        return self.quota.snapshot()["local_for_s"] is not None

    async def get(self, client: str = "192.0.2.1") -> Response:
        """The response to one request; its own headers and the extra headers of the request together."""
        request = Request("GET", "/x", "", {}, b"", "id", (), client)
        response = await resolve(self._handler(request))
        return Response(response.status, response.body, header_block=response.header_block + request.extra_headers)

    async def get_many(self, count: int, client: str = "192.0.2.1") -> list[int]:
        """The statuses of requests made by tasks of their own."""
        return [response.status for response in await asyncio.gather(*(self.get(client) for _ in range(count)))]

    def _mark(self, _request: Request, _what: str) -> None:
        self.marked += 1


async def test_two_hundred_tasks_get_a_quota_of_fifty(store: Client) -> None:
    edge = Edge(store, FIFTY, timeout_s=PATIENT_S)
    assert (await edge.get_many(200)).count(200) == 50
    assert not edge.marked
    await edge.quota.close()


async def test_tasks_at_different_times_get_no_more(store: Client) -> None:
    edge = Edge(store, FIFTY, ALL, timeout_s=PATIENT_S)

    async def late(n: int) -> int:
        for _ in range(n % 7):
            await asyncio.sleep(0)
        return (await edge.get(f"192.0.2.{n % 3}")).status

    statuses = await asyncio.gather(*(late(n) for n in range(300)))
    assert statuses.count(200) == 80
    assert not edge.marked
    await edge.quota.close()


@pytest.mark.parametrize("partitions", [1, PARTITIONS])
async def test_a_rejection_by_one_limit_takes_nothing_from_another(store: Client, partitions: int) -> None:
    wide = Limit(name="wide", by="global", quota=1_000, window_s=36_000.0)
    edge = Edge(store, FIFTY, wide, timeout_s=PATIENT_S, partitions=partitions)
    for client in range(5):
        statuses = await edge.get_many(120, f"192.0.2.{client}")
        assert statuses.count(200) == 50
    # What is given back is sent before the next request.
    left = (await edge.get("192.0.2.9")).header_block.partition(b'"wide";r=')[2].partition(b";")[0]
    assert int(left) == 1_000 - 5 * 50 - 1
    assert not edge.marked
    await edge.quota.close()


async def test_several_processes_share_one_exact_quota(store: Client, store_url: str) -> None:
    worker = str(Path(__file__).with_name("quota_worker.py"))
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable, worker, store_url, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
        )
        for _ in range(3)
    ]
    for each in workers:
        assert each.stdout is not None
        assert await each.stdout.readline() == b"ready\n"
    outcomes = await asyncio.gather(*(each.communicate(b"\n") for each in workers))
    assert [each.returncode for each in workers] == [0, 0, 0], outcomes
    assert sum(int(out) for out, _ in outcomes) == 50


# Outages


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that the test may stop, kill and fill."""
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    yield server
    if server.pid is not None:
        os.kill(server.pid, signal.SIGCONT)
    server.stop()


@pytest.fixture
async def edge(own_server: EmbeddedServer) -> AsyncIterator[Edge]:
    """An edge that may grant a quarter of each quota on its own."""
    client = await open_client(own_server.url)
    made = Edge(client, Limit(name="forty", by="address", quota=40, window_s=3_600.0), share=0.25)
    # The script is known, and nothing was decided alone.
    assert (await made.get()).status == 200
    await until(lambda: not made.is_local)
    yield made
    await made.quota.close()
    await client.close()


def pid_of(server: EmbeddedServer) -> int:
    assert server.pid is not None
    return server.pid


async def assert_local_quotas(edge: Edge) -> None:
    """The quarter of forty is granted, the fields show it, and only the first request waits for the store."""
    first = await edge.get("192.0.2.9")
    assert first.status == 200
    assert b'RateLimit: "forty";r=9;t=360\r\n' in first.header_block
    assert b'RateLimit-Policy: "forty";q=40;w=3600\r\n' in first.header_block
    assert edge.is_local
    assert (await edge.get_many(20, "192.0.2.9")).count(200) == 9
    rejected = await edge.get("192.0.2.9")
    assert b'RateLimit: "forty";r=0;t=360\r\n' in rejected.header_block
    assert b"Retry-After: 3" in rejected.header_block
    assert edge.marked >= 22


async def assert_exact_quotas(edge: Edge) -> None:
    for attempt in range(100):
        await until(lambda: not edge.is_local)
        edge.marked = 0
        passed = (await edge.get_many(60, f"198.51.100.{attempt}")).count(200)
        if not edge.marked:
            assert passed == 40
            return
    raise AssertionError("the store does not come back")


async def test_a_killed_store_is_replaced_by_local_quotas_until_its_restart(
    own_server: EmbeddedServer, edge: Edge
) -> None:
    killed = pid_of(own_server)
    os.kill(killed, signal.SIGKILL)
    await assert_local_quotas(edge)
    # A killed process still runs for a moment after its connections are closed.
    await until(lambda: own_server.revive() is None and own_server.pid != killed)
    await assert_exact_quotas(edge)


async def test_a_paused_store_is_replaced_by_local_quotas_until_it_continues(
    own_server: EmbeddedServer, edge: Edge
) -> None:
    os.kill(pid_of(own_server), signal.SIGSTOP)
    await assert_local_quotas(edge)
    os.kill(pid_of(own_server), signal.SIGCONT)
    await assert_exact_quotas(edge)


async def test_a_full_store_is_replaced_by_local_quotas_until_it_has_memory(
    own_server: EmbeddedServer, edge: Edge
) -> None:
    admin = await open_client(own_server.url, deadline_s=WITHIN_S)
    await admin.execute("CONFIG", "SET", "maxmemory", "1")
    await assert_local_quotas(edge)
    await admin.execute("CONFIG", "SET", "maxmemory", "0")
    await assert_exact_quotas(edge)
    await admin.close()


async def test_a_key_expires_when_its_quota_is_full_again(store: Client) -> None:
    edge = Edge(store, Limit(name="brief", by="address", quota=100, window_s=100.0), timeout_s=PATIENT_S)
    await edge.get()
    (key,) = await store.execute("KEYS", "{rl}:*")
    # A unit comes back each second.
    assert 0 < await store.execute("PTTL", key) <= 1_000
    await edge.quota.close()

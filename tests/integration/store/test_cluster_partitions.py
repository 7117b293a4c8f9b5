"""The client of a cluster whose network is cut between its servers, between a server and the clients, or both; and healed.

Writes that `WAIT` confirmed survive all of it. Others that the old primary acknowledged between the cut and the moment when it
misses the other primaries itself (its node timeout) are lost when another is elected.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ClusterDownError, MovedError

from benchmarks.harness.store_cluster import ClusterServer
from benchmarks.harness.store_pair import await_condition
from checkout.redis.durability import Durability, ReplicaWait, wait_on
from store import ClusterClient, Script, StoreError
from store.cluster import open_cluster
from store.slots import slot_of
from tests.integration.store.test_cluster import KEYS, load_on
from tests.network import NetworkedCluster, NetworkedServer, networked_cluster
from tests.waiting import until

NODE_TIMEOUT_MS = 2000
INSERT = Script("return redis.call('SADD', KEYS[1], ARGV[1])")
_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkedCluster]:
    options = ("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-require-full-coverage", "no")
    with networked_cluster(tmp_path_factory.mktemp("net"), *options) as made:
        yield made


@pytest.fixture
def cluster(servers: NetworkedCluster) -> Iterator[NetworkedCluster]:
    servers.settle()
    yield servers
    servers.heal()


@pytest.fixture
async def client(cluster: NetworkedCluster) -> AsyncIterator[ClusterClient]:
    opened = await open_cluster(cluster.url, deadline_s=5.0)
    await opened.execute("FLUSHDB")
    yield opened
    await opened.close()


class DurableLoad:
    """Inserts into a set for each key, with a wait for the replica, and looks for each acknowledged member at once."""

    def __init__(self, client: ClusterClient, durability: Durability) -> None:
        self._client = client
        self._durability = durability
        self.acknowledged: dict[str, set[bytes]] = {key: set() for key in KEYS}
        self.stale_reads: list[str] = []
        self._ends = False

    async def insert(self, key: str) -> None:
        number = 0
        while not self._ends:
            number += 1
            try:
                _, is_durable = await self._durability.write(INSERT, [members_of(key)], [number])
                if is_durable:
                    self.acknowledged[key].add(b"%d" % number)
                    if not await self._client.execute("SISMEMBER", members_of(key), number):
                        self.stale_reads.append(f"{key} {number}")
            except StoreError:
                await asyncio.sleep(0.005)

    async def more(self, *, only: Callable[[str], bool] = lambda _key: True) -> None:
        """Wait until each key has got more acknowledged members."""
        before = {key: len(self.acknowledged[key]) for key in filter(only, KEYS)}
        await until(lambda: all(len(self.acknowledged[key]) > size + 2 for key, size in before.items()))

    async def check(self) -> None:
        """Each acknowledged member is there, and was whenever it was looked for."""
        assert self.stale_reads == []
        for key in KEYS:
            assert self.acknowledged[key] <= set(await self._client.execute("SMEMBERS", members_of(key)))


def members_of(key: str) -> str:
    return f"{{{key}}}:members"


@asynccontextmanager
async def durable_load(cluster: NetworkedCluster, client: ClusterClient) -> AsyncIterator[DurableLoad]:
    waiting = await open_cluster(cluster.url, deadline_s=5.0)
    load = DurableLoad(client, wait_on(waiting, ReplicaWait))
    inserting = [asyncio.create_task(load.insert(key)) for key in KEYS]
    try:
        await load.more()
        yield load
    finally:
        load._ends = True
        await asyncio.gather(*inserting)
        await waiting.close()


@pytest.mark.parametrize("cut", [NetworkedServer.cut_from_servers, NetworkedServer.cut_off], ids=["servers", "all"])
async def test_a_primary_that_is_cut_off_is_replaced_and_comes_back_as_a_replica(
    cluster: NetworkedCluster, client: ClusterClient, cut: Callable[[NetworkedServer], None]
) -> None:
    old = cluster.primary_of(slot_of(KEYS[0]))
    assert isinstance(old, NetworkedServer)
    elected = cluster.replica_of(old)
    of_old = keys_of(cluster, old)
    async with load_on(client) as load, durable_load(cluster, client) as durable:
        await asyncio.to_thread(cut, old)
        await asyncio.to_thread(await_condition, lambda: elected.is_primary)
        elected_at = time.monotonic()
        await until(lambda: client.node_of(KEYS[0]).address == (elected.host, elected.port))
        await load.more()
        _log.info("each key was served %.3f s after the election", time.monotonic() - elected_at)
        # No replica follows the new primary before the old one is back, so nothing on it is acknowledged.
        await durable.more(only=lambda key: not of_old(key))
        await asyncio.to_thread(await_condition, lambda: old.misses_the_cluster)
        old.heal()
        # Until it has heard of its successor it refuses, and then it redirects.
        while old.is_primary:
            with pytest.raises((ClusterDownError, MovedError)):
                await asyncio.to_thread(old.command, "GET", KEYS[0])
        # Not in the thread that starts servers of other tests: a thread stays in the namespace where it was started.
        await asyncio.to_thread(cluster.settle)
        await asyncio.gather(load.more(), durable.more())
    assert {key for key, _ in load.failures} <= set(filter(of_old, KEYS))
    await durable.check()
    await load.check(lossy=of_old)


async def test_a_primary_that_its_clients_cannot_reach_fails_its_own_slots_alone_until_they_can(
    cluster: NetworkedCluster, client: ClusterClient
) -> None:
    cut_off = cluster.primary_of(slot_of(KEYS[0]))
    assert isinstance(cut_off, NetworkedServer)
    of_it = keys_of(cluster, cut_off)
    async with load_on(client) as load, durable_load(cluster, client) as durable:
        await asyncio.to_thread(cut_off.cut_from_clients)
        await until(lambda: any(of_it(key) for key, _ in load.failures))
        await asyncio.gather(load.more(only=lambda key: not of_it(key)), durable.more(only=lambda key: not of_it(key)))
        cut_off.heal()
        healed_at = time.monotonic()
        await asyncio.gather(load.more(), durable.more())
        _log.info("each key was served %.3f s after the healing", time.monotonic() - healed_at)
    assert cut_off.is_primary
    assert {key for key, _ in load.failures} <= set(filter(of_it, KEYS))
    await durable.check()
    await load.check()


def keys_of(cluster: NetworkedCluster, primary: ClusterServer) -> Callable[[str], bool]:
    keys = {key for key in KEYS if cluster.primary_of(slot_of(key)) is primary}
    return keys.__contains__

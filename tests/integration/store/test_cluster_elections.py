"""A cluster that decides by itself: its servers elect a new primary when most primaries miss the old one.

A primary that is stopped is cut off from its clients and from the other servers, and continues with its old view of the cluster.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator

import pytest

from benchmarks.harness.store_cluster import StoreCluster, store_cluster
from benchmarks.harness.store_pair import await_condition
from store import ClusterClient
from store.cluster import open_cluster
from store.slots import slot_of
from tests.integration.store.test_cluster import KEYS, in_starter, load_on, replicated

_log = logging.getLogger(__name__)
NODE_TIMEOUT_MS = 2000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    options = ("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-require-full-coverage", "no")
    with store_cluster(tmp_path_factory.mktemp("elections"), *options) as made:
        yield made


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "cut off"])
async def test_the_client_follows_the_primary_that_the_servers_elect(
    cluster: StoreCluster, fault: signal.Signals
) -> None:
    cluster.settle()
    client = await open_cluster(cluster.url, deadline_s=5.0)
    try:
        await client.execute("FLUSHDB")
        await follow_the_elected(cluster, client, fault)
    finally:
        await client.close()


async def follow_the_elected(cluster: StoreCluster, client: ClusterClient, fault: signal.Signals) -> None:
    loop = asyncio.get_running_loop()
    async with load_on(client) as load:
        old = cluster.primary_of(slot_of(KEYS[0]))
        elected = cluster.replica_of(old)
        floor = load.acknowledged.copy()
        await asyncio.to_thread(replicated, old, elected)
        old.signal(fault)
        try:
            await asyncio.to_thread(await_condition, lambda: elected.is_primary)
            elected_at = loop.time()
            await load.more()
            _log.info("each key was served %.3f s after the election", loop.time() - elected_at)
        finally:
            if fault is signal.SIGSTOP:
                old.signal(signal.SIGCONT)
        await in_starter(cluster.settle)
        await asyncio.to_thread(await_condition, lambda: old.is_primary is not elected.is_primary)
        await load.more()
    for key in KEYS:
        assert int(await client.execute("GET", key)) >= floor[key], "what the replica had is there"
    await load.check(lossy=lambda _key: True)

"""The client of a cluster, while servers end, hang, change roles, come and go, and slots move under load.

One cluster serves all tests of this file; each begins when all servers agree.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.store_cluster import ClusterServer, StoreCluster, store_cluster
from benchmarks.harness.store_pair import await_condition, store_server
from checkout.redis.durability import AofWait, BatchedWait, ReplicaWait, wait_on
from store import (
    ClusterClient,
    PinnedStore,
    ReplyError,
    Script,
    StoreError,
    StorePartlyUnavailable,
    StoreUnavailable,
    beside,
    connection_of,
)
from store.cluster import MAX_TAGS, open_cluster
from store.commands import first_key
from store.opening import open_subscriber
from store.slots import slot_of
from tests.waiting import WITHIN_S, until

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
_log = logging.getLogger(__name__)
# A server ends with the thread that started it, so those of a test's own loop would take a restarted one along.
STARTER = ThreadPoolExecutor(1)
KEYS = [f"n:{number}" for number in range(24)]


@pytest.fixture(scope="module", params=["valkey", "redis"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    program = None if request.param == "valkey" else installed_redis()
    with store_cluster(tmp_path_factory.mktemp("cluster"), "--appendonly", "yes", program=program) as made:
        yield made


def installed_redis() -> Path:
    """The Redis server of this machine. Skips the test where there is none of version 7."""
    found = shutil.which("redis-server")
    version = (
        "" if found is None else subprocess.run([found, "--version"], capture_output=True, check=True, text=True).stdout
    )
    if found is None or " v=7." not in version:
        pytest.skip("no redis-server of version 7 is installed")
    return Path(found)


@pytest.fixture
def cluster(servers: StoreCluster) -> StoreCluster:
    servers.settle()
    return servers


@pytest.fixture
async def client(cluster: StoreCluster) -> AsyncIterator[ClusterClient]:
    opened = await open_cluster(cluster.url, deadline_s=5.0)
    await opened.execute("FLUSHDB")
    yield opened
    await opened.close()


class Load:
    """Adds to all keys at once, and notes what was acknowledged and what may have run beyond that."""

    def __init__(self, client: ClusterClient) -> None:
        self.client = client
        self.acknowledged: Counter[str] = Counter()
        self.doubtful: Counter[str] = Counter()
        self.failures: list[tuple[str, StoreError]] = []
        # Of one key, between two acknowledged additions.
        self.longest_pause_s = 0.0
        self._ends = False

    async def add(self, key: str) -> None:
        acknowledged_at = time.monotonic()
        while not self._ends:
            try:
                await self.client.run(ADD, [key], [1])
            except StoreError as error:
                self.doubtful[key] += getattr(error, "may_have_run", False)
                self.failures.append((key, error))
                await asyncio.sleep(0.005)
            else:
                self.acknowledged[key] += 1
                now = time.monotonic()
                self.longest_pause_s = max(self.longest_pause_s, now - acknowledged_at)
                acknowledged_at = now

    async def more(self, each: int = 3, *, only: Callable[[str], bool] = lambda _key: True) -> None:
        """Wait until each key has got so many more acknowledged additions."""
        before = self.acknowledged.copy()
        keys = list(filter(only, KEYS))
        await until(lambda: all(self.acknowledged[key] >= before[key] + each for key in keys))

    async def check(self, *, lossy: Callable[[str], bool] = lambda _key: False) -> None:
        """Nothing acknowledged is lost, and nothing ran twice."""
        for key in KEYS:
            value = int(await self.client.execute("GET", key) or 0)
            assert value <= self.acknowledged[key] + self.doubtful[key], key
            assert lossy(key) or value >= self.acknowledged[key], key


@asynccontextmanager
async def load_on(client: ClusterClient) -> AsyncIterator[Load]:
    load = Load(client)
    adding = [asyncio.create_task(load.add(key)) for key in KEYS]
    try:
        await load.more()
        yield load
    finally:
        load._ends = True
        await asyncio.gather(*adding)


def served_by(server: ClusterServer) -> Callable[[str], bool]:
    slots = {key: server.command("CLUSTER", "COUNTKEYSINSLOT", slot_of(key)) for key in KEYS}
    return lambda key: slots[key] > 0


async def needs_waitaof(client: ClusterClient) -> None:
    """Skip the test on a server before Redis 7.2."""
    try:
        await client.nodes[0].execute("WAITAOF", 0, 0, 1)
    except ReplyError:
        pytest.skip("the server does not know WAITAOF")


async def in_starter(call: Callable[..., object], *args: object) -> None:
    """Await a call that starts servers."""
    await asyncio.get_running_loop().run_in_executor(STARTER, call, *args)


async def first_success(call: Callable[[], Any]) -> Any:
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


def replicated(primary: ClusterServer, replica: ClusterServer) -> None:
    """Wait until the replica has what the primary had when this was called."""
    offset = primary.info("replication")["master_repl_offset"]
    await_condition(lambda: replica.info("replication")["slave_repl_offset"] >= offset)


async def test_commands_and_scripts_reach_the_primary_of_their_key(client: ClusterClient) -> None:
    assert len(client.nodes) == 3
    assert await asyncio.gather(*(client.run(ADD, [key], [1]) for key in KEYS)) == [1] * len(KEYS)
    assert await asyncio.gather(*(client.execute("GET", key) for key in KEYS)) == [b"1"] * len(KEYS)
    assert all(node.answered for node in client.nodes)
    assert client.failed == 0


async def test_a_script_is_loaded_where_a_server_does_not_know_it(client: ClusterClient) -> None:
    await client.run(ADD, [KEYS[0]], [1])
    await client.node_of(KEYS[0]).execute("SCRIPT", "FLUSH")
    assert await client.run(ADD, [KEYS[0]], [1]) == 2


async def test_keys_of_several_slots_in_a_call_are_an_error(client: ClusterClient) -> None:
    with pytest.raises(ReplyError, match="CROSSSLOT"):
        await client.run(ADD, KEYS, [1])


async def test_commands_of_the_whole_store_see_all_primaries(client: ClusterClient) -> None:
    await asyncio.gather(*(client.execute("SET", key, 1) for key in KEYS))
    assert await client.execute("DBSIZE") == len(KEYS)
    cursor, found = "0", []
    while True:
        cursor, keys = await client.execute("SCAN", cursor, "MATCH", "n:*", "COUNT", 3)
        found += keys
        if cursor == b"0":
            break
    assert sorted(key.decode() for key in found) == sorted(KEYS)
    await client.execute("FLUSHDB")
    assert await client.execute("DBSIZE") == 0


@pytest.mark.parametrize("key", ["{a}b", "{", "{}b", "{a", "{{a}b}", "a{b}c", "{ä}b", "{a}{b}", "}{a}", b"{a}b"])
async def test_a_key_is_routed_by_its_hash_tag_each_time(client: ClusterClient, key: str | bytes) -> None:
    for _ in range(2):
        node = client.node_of(key)
        assert node is client.owner_at(slot_of(key))
        assert await node.execute("SET", key, 1) is not None, "this server serves the key"


async def test_more_hash_tags_than_are_remembered_are_routed(client: ClusterClient) -> None:
    keys = [f"{{{number}}}" for number in range(MAX_TAGS + 8)]
    assert all(client.node_of(key) is client.owner_at(slot_of(key)) for key in [*keys, *keys])


async def test_every_primary_is_probed(client: ClusterClient) -> None:
    await client.ping()
    await client.probe()
    probes = [await node.execute("KEYS", "peakgate:probe*") for node in client.nodes]
    assert all(probes)


async def test_a_probe_names_the_primaries_that_do_not_answer(cluster: StoreCluster) -> None:
    client = await open_cluster(cluster.url, deadline_s=2.0)
    primaries = sorted(cluster.primaries, key=lambda server: server.port)
    stopped = primaries[:2]
    try:
        for server in stopped:
            server.signal(signal.SIGSTOP)
        with pytest.raises(StorePartlyUnavailable) as partly:
            await client.probe()
        assert [f"127.0.0.1:{server.port}:" in str(partly.value) for server in primaries] == [True, True, False]
        primaries[2].signal(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable) as away:
            await client.probe()
        assert not isinstance(away.value, StorePartlyUnavailable)
    finally:
        for server in primaries:
            server.signal(signal.SIGCONT)
    await first_success(client.probe)
    await client.close()


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "k"),
        ("EVAL", "return 1", 1, "k", "x"),
        ("EVALSHA", "0" * 40, 2, "k", "k2"),
        ("XREADGROUP", "GROUP", "g", "c", "BLOCK", 1, "STREAMS", "k", "k2", ">", ">"),
        ("XGROUP", "CREATE", "k", "g", "$"),
        ("XINFO", "GROUPS", "k"),
        ("SPUBLISH", "k", ""),
    ],
)
async def test_the_first_key_is_the_one_that_the_server_sees(client: ClusterClient, command: tuple[Any, ...]) -> None:
    if command[0] == "SPUBLISH":
        assert first_key(command) == "k"
        return
    assert (await client.execute("COMMAND", "GETKEYS", *command))[0] == str(first_key(command)).encode()


@pytest.mark.parametrize(
    "command", [("EVAL", "return 1", 0), ("TIME",), ("PING",), ("INFO", "memory"), ("CLIENT", "ID")]
)
async def test_commands_without_a_key_go_to_any_primary(client: ClusterClient, command: tuple[Any, ...]) -> None:
    assert first_key(command) is None
    assert await client.execute(*command)


async def test_a_cluster_is_found_by_a_replica_beside_a_server_that_is_gone(cluster: StoreCluster) -> None:
    replica = cluster.replica_of(cluster.primaries[0])
    client = await open_cluster(f"redis+cluster://127.0.0.1:1,127.0.0.1:{replica.port}", deadline_s=5.0)
    assert await client.run(ADD, ["x"], [1])
    await client.close()


async def test_a_store_that_is_no_cluster_is_refused_with_its_reason(tmp_path: Path) -> None:
    with store_server(tmp_path / "alone") as alone, pytest.raises(StoreUnavailable, match="cluster support disabled"):
        await open_cluster(alone.url.replace("redis:", "redis+cluster:"))


async def test_a_killed_primary_fails_its_own_slots_alone_until_its_replica_is_promoted(
    cluster: StoreCluster, client: ClusterClient
) -> None:
    async with load_on(client) as load:
        victim = cluster.primary_of(slot_of(KEYS[0]))
        replica = cluster.replica_of(victim)
        of_victim = served_by(victim)
        floor = load.acknowledged.copy()
        await asyncio.to_thread(replicated, victim, replica)
        await asyncio.to_thread(victim.kill)
        await load.more(only=lambda key: not of_victim(key))
        await asyncio.to_thread(cluster.take_over, replica)
        await load.more()
    assert {key for key, _ in load.failures} <= set(filter(of_victim, KEYS))
    await load.check(lossy=of_victim)
    for key in KEYS:
        assert int(await client.execute("GET", key)) >= floor[key]


async def test_a_primary_that_hangs_delays_no_other(cluster: StoreCluster, client: ClusterClient) -> None:
    async with load_on(client) as load:
        victim = cluster.primary_of(slot_of(KEYS[0]))
        replica = cluster.replica_of(victim)
        of_victim = served_by(victim)
        await asyncio.to_thread(replicated, victim, replica)
        victim.signal(signal.SIGSTOP)
        try:
            held_back = client.execute("GET", KEYS[0])
            await load.more(only=lambda key: not of_victim(key))
            assert not held_back.done() or held_back.exception() is not None
            await asyncio.to_thread(cluster.take_over, replica)
            await load.more()
        finally:
            victim.signal(signal.SIGCONT)
    assert {key for key, _ in load.failures} <= set(filter(of_victim, KEYS))
    await load.check(lossy=of_victim)


async def test_calls_that_a_hanging_primary_has_got_do_not_wait_for_their_deadline(cluster: StoreCluster) -> None:
    victim = cluster.primary_of(slot_of(KEYS[0]))
    replica = cluster.replica_of(victim)
    client = await open_cluster(cluster.url, deadline_s=WITHIN_S * 2)
    victim.signal(signal.SIGSTOP)
    try:
        waiting = client.execute("GET", KEYS[0])
        await asyncio.to_thread(cluster.take_over, replica)
        with pytest.raises(StoreUnavailable, match="serves no slots") as lost:
            async with asyncio.timeout(WITHIN_S):
                await waiting
        assert lost.value.may_have_run
        assert client.node_of(KEYS[0]).address[1] == replica.port
    finally:
        victim.signal(signal.SIGCONT)
        await client.close()


async def test_a_planned_failover_loses_nothing(cluster: StoreCluster, client: ClusterClient) -> None:
    async with load_on(client) as load:
        old = cluster.primary_of(slot_of(KEYS[0]))
        of_old = served_by(old)
        await asyncio.to_thread(cluster.fail_over, cluster.replica_of(old))
        await load.more()
    assert {key for key, _ in load.failures} <= set(filter(of_old, KEYS))
    await load.check()


async def test_a_rolling_upgrade_of_all_servers_loses_nothing(cluster: StoreCluster, client: ClusterClient) -> None:
    async with load_on(client) as load:
        for primary in cluster.primaries:
            replica = await asyncio.to_thread(cluster.replica_of, primary)
            await in_starter(cluster.restart, replica)
            await asyncio.to_thread(cluster.fail_over, replica)
            await in_starter(cluster.restart, primary)
            await load.more()
    await load.check()
    _log.info("the longest pause of a key was %.3f s, %d calls failed", load.longest_pause_s, len(load.failures))


async def test_slots_that_move_key_by_key_are_served_all_the_time(cluster: StoreCluster, client: ClusterClient) -> None:
    async with load_on(client) as load:
        source = cluster.primary_of(slot_of(KEYS[0]))
        target = next(each for each in cluster.primaries if each is not source)
        for key in filter(served_by(source), KEYS):
            await asyncio.to_thread(cluster.move_slot, slot_of(key), target)
        await load.more()
    assert load.failures == []
    await load.check()


async def test_a_key_that_has_moved_is_asked_for_on_the_connection_of_its_asking(
    cluster: StoreCluster, client: ClusterClient
) -> None:
    slot = slot_of(KEYS[0])
    source = cluster.primary_of(slot)
    target = next(each for each in cluster.primaries if each is not source)
    await client.run(ADD, [KEYS[0]], [1])
    target.insist("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.insist("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    try:
        await asyncio.to_thread(cluster.move_keys, slot, source, target)
        target.command("SCRIPT", "FLUSH")
        assert await asyncio.gather(*(client.run(ADD, [KEYS[0]], [1]) for _ in range(50))) == list(range(2, 52))
        # Until the slot itself has moved, its other keys are still where they were.
        assert client.node_of(KEYS[0]).address[1] == source.port
    finally:
        for server in (target, source):
            server.insist("CLUSTER", "SETSLOT", slot, "NODE", target.id)
    assert await client.run(ADD, [KEYS[0]], [1]) == 52


async def test_slots_that_the_servers_move_at_once_are_served_all_the_time(
    cluster: StoreCluster, client: ClusterClient
) -> None:
    source = cluster.primary_of(slot_of(KEYS[0]))
    try:
        source.command("CLUSTER", "GETSLOTMIGRATIONS")
    except Exception:  # noqa: BLE001
        pytest.skip("the server does not know CLUSTER MIGRATESLOTS")
    async with load_on(client) as load:
        target = next(each for each in cluster.primaries if each is not source)
        for key in filter(served_by(source), KEYS):
            await asyncio.to_thread(cluster.migrate_slots, slot_of(key), slot_of(key), target)
        await load.more()
    assert load.failures == []
    await load.check()


async def test_a_server_that_joins_serves_and_is_left_when_its_slots_are(
    cluster: StoreCluster, client: ClusterClient
) -> None:
    async with load_on(client) as load:
        source = cluster.primary_of(slot_of(KEYS[0]))
        assert client.node_of(f"{{{KEYS[0]}}}:x").address[1] == source.port
        joined = await asyncio.to_thread(cluster.add_server)
        await asyncio.to_thread(cluster.move_slot, slot_of(KEYS[0]), joined)
        await until(lambda: len(client.nodes) == 4)
        await load.more()
        assert client.node_of(KEYS[0]).address[1] == joined.port
        assert client.node_of(f"{{{KEYS[0]}}}:x").address[1] == joined.port
        await asyncio.to_thread(cluster.move_slot, slot_of(KEYS[0]), source)
        await until(lambda: len(client.nodes) == 3)
        await load.more()
        await asyncio.to_thread(cluster.remove, joined)
        await load.more()
    assert load.failures == []
    await load.check()


async def test_work_that_is_pinned_ends_with_the_primary_whose_writes_it_builds_on(
    cluster: StoreCluster, client: ClusterClient
) -> None:
    store = PinnedStore(client)
    old = cluster.primary_of(slot_of(KEYS[0]))
    with store.pinned():
        assert await store.run(ADD, [KEYS[0]], [1]) == 1
        await asyncio.to_thread(cluster.fail_over, cluster.replica_of(old))
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as ended:
                await store.run(ADD, [KEYS[0]], [1])
            assert not ended.value.may_have_run
    assert await first_success(lambda: store.run(ADD, [KEYS[0]], [1])) == 2


async def test_a_breaker_of_one_primary_leaves_the_others(client: ClusterClient) -> None:
    node = client.node_of(KEYS[0])
    other = next(key for key in map("other:{}".format, range(1000)) if client.node_of(key) is not node)
    node.admit_only(lambda: False)
    with pytest.raises(StoreUnavailable, match="cut off"):
        await client.execute("GET", KEYS[0])
    assert await client.execute("GET", other) is None


async def test_commands_about_a_server_reach_that_of_the_key(client: ClusterClient) -> None:
    node = client.node_of(KEYS[0])
    assert await beside(client, KEYS[0]).execute("CLIENT", "ID") == await node.execute("CLIENT", "ID")
    connection = connection_of(PinnedStore(client))
    assert connection is not None
    assert connection.client is client


async def test_calls_after_the_end_fail(cluster: StoreCluster) -> None:
    client = await open_cluster(cluster.url)
    await client.close()
    for call in (client.execute("GET", "k"), client.execute("TIME"), client.run(ADD, ["k"], [1])):
        with pytest.raises(StoreUnavailable):
            await call


async def test_notices_follow_their_channel_to_another_primary(cluster: StoreCluster, client: ClusterClient) -> None:
    subscriber = open_subscriber(cluster.url, client)
    heard: Counter[str] = Counter()
    listeners = {key: partial(heard.update, [key]) for key in KEYS[:6]}
    for key, listener in listeners.items():
        subscriber.listen(key, listener)
    running = asyncio.ensure_future(subscriber.run())
    await until(lambda: len(heard) == 6)
    assert subscriber.is_connected
    source = cluster.primary_of(slot_of(KEYS[0]))
    target = next(each for each in cluster.primaries if each is not source)
    await asyncio.to_thread(cluster.move_slot, slot_of(KEYS[0]), target)
    await asyncio.to_thread(cluster.fail_over, cluster.replica_of(source))

    async def published(key: str) -> None:
        before = heard[key]
        async with asyncio.timeout(WITHIN_S):
            while heard[key] == before:
                await first_success(lambda: client.execute("SPUBLISH", key, ""))
                await asyncio.sleep(0.05)

    for key in listeners:
        await published(key)
    # A notice that is published when all has settled is heard by the subscriber where its slot is, and counted there.
    await until(lambda: subscriber.is_connected)
    assert [await client.execute("SPUBLISH", key, "") for key in listeners] == [1] * 6
    for key, listener in listeners.items():
        subscriber.forget(key, listener)
    assert subscriber.channels == 0
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize("wait", [AofWait, ReplicaWait])
async def test_durable_writes_wait_on_the_server_of_their_slot(client: ClusterClient, wait: type[BatchedWait]) -> None:
    if wait is AofWait:
        await needs_waitaof(client)
    durability = wait_on(client, wait)
    for node in client.nodes:
        await node.execute("SCRIPT", "FLUSH")
    written = await asyncio.gather(*(durability.write(ADD, [key], [1]) for key in KEYS))
    assert written == [(1, True)] * len(KEYS)
    assert durability.undo_is_safe is (wait is AofWait)


async def test_durable_writes_follow_a_slot_that_moves(cluster: StoreCluster, client: ClusterClient) -> None:
    await needs_waitaof(client)
    durability = wait_on(client, AofWait)
    slot = slot_of(KEYS[0])
    source = cluster.primary_of(slot)
    target = next(each for each in cluster.primaries if each is not source)
    await durability.write(ADD, [KEYS[0]], [1])
    target.insist("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.insist("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    try:
        await asyncio.to_thread(cluster.move_keys, slot, source, target)
        target.command("SCRIPT", "FLUSH")
        assert await durability.write(ADD, [KEYS[0]], [1]) == (2, True)
    finally:
        for server in (target, source):
            server.insist("CLUSTER", "SETSLOT", slot, "NODE", target.id)
    assert await durability.write(ADD, [KEYS[0]], [1]) == (3, True)
    assert int(target.command("GET", KEYS[0])) == 3
    with pytest.raises(ReplyError, match="CROSSSLOT"):
        await durability.write(ADD, KEYS, [1])

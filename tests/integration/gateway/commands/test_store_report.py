"""`peakgate store report` over real stores."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from benchmarks.harness.store_cluster import store_cluster
from cart.model import Sku
from cart.sku_keys import holds_key
from gateway.cli.main import main
from gateway.commands.hot_keys import NO_SLOT_STATS, NOT_COUNTED, SLOTS_NOT_COUNTED
from gateway.commands.store_survey import NONE_SLOW, Survey, script_names
from gateway.prerequisites.permissions import REPORT, acl_rules, report_rules
from store import Client, open_client, open_store_client
from store.embedded import EmbeddedServer
from tests.integration.gateway.prerequisites.test_permissions import opened
from tests.integration.store.test_slots import SlotStore, Uses, all_scripts

PAGE = Path(__file__).parents[4] / "docs/store.md"
REDIS = Path(shutil.which("redis-server") or "/none")


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own: the slow log and the statistics are those of all clients of a server."""
    server = EmbeddedServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("PEAKGATE_") and not name.startswith("PEAKGATE_TEST"):
            monkeypatch.delenv(name)


class Clock:
    """A clock that sleeping moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_keys_are_counted_by_kind_and_their_bytes_estimated(store: Client) -> None:
    for number in range(500):
        await store.execute("SET", f"of somebody else {number}", "x" * 1000)
    await store.execute("SET", "peakgate:partitions", 256)

    report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)

    kinds = {size.kind: size for size in report.kinds}
    assert (kinds["other"].keys, kinds["partitions"].keys, report.keys) == (500, 1, 501)
    assert 100 <= kinds["other"].measured < 200
    actual = await store.execute("MEMORY", "USAGE", "of somebody else 0")
    assert kinds["other"].bytes == pytest.approx(500 * actual, rel=0.05)
    assert report.kinds[0].kind == "other"


async def test_a_report_looks_at_no_more_keys_a_second_than_its_rate(store: Client) -> None:
    await store.execute("MSET", *(text for number in range(1000) for text in (f"key {number}", "value")))
    clock, seen = Clock(), []

    await Survey(store, rate=100, clock=clock, sleep=clock.sleep).run(
        lambda looked_at, of: seen.append((looked_at, of))
    )

    assert seen[-1] == (1000, 1000)
    assert clock.now >= (1000 - 200) / 100


async def test_slow_scripts_have_their_names_and_no_arguments(store: Client) -> None:
    await store.execute("CONFIG", "SET", "slowlog-log-slower-than", "0")
    await store.execute("SLOWLOG", "RESET")
    try:
        await store.run(all_scripts()["store.generation._ADVANCE"], ["{a}", "{a}b"], ["secret", 1000])
        await store.execute("SET", "key", "secret")
        report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)
    finally:
        await store.execute("CONFIG", "SET", "slowlog-log-slower-than", "10000")
    names = {calls.name for calls in report.slow}
    assert {"store.generation._ADVANCE", "SET"} <= names
    assert "secret" not in repr(report)
    assert {each.name for each in report.commands} & {"set", "evalsha", "scan"}


async def test_every_script_has_a_name() -> None:
    assert {script.sha for script in all_scripts().values()} <= script_names().keys()


async def test_keys_that_all_adapters_leave_have_their_kinds(store: Client) -> None:
    await Uses(SlotStore(store), is_cluster=False).all()
    await store.execute("DEL", "key", "a lease")
    report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)
    assert "other" not in {size.kind for size in report.kinds}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    own = EmbeddedServer(tmp_path / "data")
    own.start()
    yield own
    own.stop()


async def test_hot_keys_are_found_where_the_server_counts_them(server: EmbeddedServer) -> None:
    store = await open_client(server.url, deadline_s=30.0)
    await store.execute("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    await store.execute("CONFIG", "SET", "lfu-log-factor", "0")
    for number in range(30):
        await store.execute("SET", f"cold {number}", 1)
    for _ in range(100):
        await store.execute("GET", "cold 7")
    report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)
    await store.close()
    assert report.hot[0].name == "cold 7"
    assert len(report.hot) == 10
    assert "hot keys" not in report.notes


async def test_a_user_with_the_documented_rules_gets_each_section_and_one_without_a_note(
    server: EmbeddedServer,
) -> None:
    admin = await open_client(server.url, deadline_s=30.0)
    await admin.execute("SET", "peakgate:partitions", 256)
    notes = {}
    for user, rules in (("whole", f"{acl_rules()} {report_rules()}"), ("plain", acl_rules())):
        await admin.execute("ACL", "SETUSER", user, "reset", "on", ">penny", *rules.split())
        store = await open_client(f"{server.url}?username={user}&password=penny", deadline_s=30.0)
        report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)
        await store.close()
        assert report.keys == 1
        notes[user] = report.notes
    await admin.close()
    assert notes["whole"] == {"hot keys": NOT_COUNTED, "slow scripts": NONE_SLOW}
    assert notes["plain"].keys() == {"hot keys", "bytes", "slow scripts"}
    assert "NOPERM" in notes["plain"]["slow scripts"]
    assert "NOPERM" in notes["plain"]["bytes"]


def test_the_page_has_the_rules() -> None:
    assert f"\n{report_rules()}\n" in PAGE.read_text()
    assert len(REPORT) == 4


def test_a_report_and_its_growth_are_printed(
    server: EmbeddedServer, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["store", "report", "--store-url", server.url]
    assert main([*words, "--format", "json"]) == 0
    earlier = tmp_path / "earlier.json"
    earlier.write_bytes(capsysbinary.readouterr().out)
    assert json.loads(earlier.read_bytes())["servers"] == 1

    assert main([*words, "--since", str(earlier)]) == 0
    printed = capsysbinary.readouterr()
    assert printed.out.decode().splitlines()[0].split() == [
        "KIND",
        "KEYS",
        "BYTES",
        "KEYS",
        "SINCE",
        "BYTES",
        "SINCE",
        "BYTES",
        "A",
        "DAY",
    ]
    assert b"0 keys on 1 servers" in printed.err


def test_an_earlier_report_that_is_none_is_refused(
    server: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "earlier.json").write_text("{}")
    assert main(["store", "report", "--store-url", server.url, "--since", str(tmp_path / "earlier.json")]) == 64
    assert "is no report" in capsys.readouterr().err


async def test_a_cluster_is_looked_at_as_a_whole_and_has_its_busiest_slots(tmp_path: Path) -> None:
    with store_cluster(tmp_path, "--cluster-slot-stats-enabled", "yes", replicas=False) as servers:
        store = await open_store_client(servers.url, deadline_s=30.0)
        try:
            for number in range(300):
                await store.execute("SET", f"of somebody else {number}", 1)
            await store.execute("SET", "{busy}", 1)
            # Far more than all else: on a busy machine a call of another slot may be paused for milliseconds.
            for _ in range(3000):
                await store.execute("GET", "{busy}")
            report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)
        finally:
            await store.close()
    assert (report.servers, report.keys) == (3, 301)
    assert "hot keys" not in report.notes
    busy = next(hot for hot in report.hot if hot.name == f"slot {key_slot(b'{busy}')}")
    assert (busy.kind, busy.tags) == ("slot", ["{busy}"])
    assert busy.counter > 0
    assert [hot.counter for hot in report.hot] == sorted((hot.counter for hot in report.hot), reverse=True)


async def test_a_cluster_that_counts_no_slots_says_so(tmp_path: Path) -> None:
    with store_cluster(tmp_path, replicas=False) as servers:
        store = await open_store_client(servers.url, deadline_s=30.0)
        try:
            report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)
        finally:
            await store.close()
    assert report.hot == []
    assert report.notes["hot keys"] == SLOTS_NOT_COUNTED


@pytest.mark.skipif(not REDIS.exists(), reason="redis-server is not installed")
async def test_a_cluster_of_redis_says_that_it_cannot_count_slots(tmp_path: Path) -> None:
    with store_cluster(tmp_path, replicas=False, program=REDIS) as servers:
        store = await open_store_client(servers.url, deadline_s=30.0)
        try:
            report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)
        finally:
            await store.close()
    assert report.notes["hot keys"] == NO_SLOT_STATS


async def test_the_skus_with_most_orders_in_flight_are_shown(store: Client) -> None:
    for number in range(15):
        for order in range(number):
            await store.execute("HSET", holds_key(Sku(f"sku {number}")), f"order {order}", "1 0 1")
    report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)
    assert [(each.name, each.counter) for each in report.crowded] == [
        (f"sku {number}", number) for number in range(14, 4, -1)
    ]


@pytest.mark.skipif(not REDIS.exists(), reason="redis-server is not installed")
async def test_redis_is_reported_as_well(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    words = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        store = await opened(f"unix://{path}")
        await store.execute("SET", "peakgate:partitions", 256)
        report = await Survey(store, rate=1e6).run(lambda _looked_at, _of: None)
        await store.close()
    finally:
        process.terminate()
        process.wait()
    assert [(size.kind, size.keys, size.measured) for size in report.kinds] == [("partitions", 1, 1)]
    assert report.notes.keys() == {"hot keys", "slow scripts"}

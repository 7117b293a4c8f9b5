from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.api.health import Impaired
from gateway.control.shared_outage import SharedOutage
from gateway.resilience.store_watch import StoreWatch
from store import Reason, ReplyError, StorePartlyUnavailable, StoreUnavailable
from store.disk_guard import READ_ONLY_MAXMEMORY

MEMORY_TEXT = (
    "the store's memory is full (maxmemory 512 MB): reads go on, carts and orders are refused until there is room"
)


class FakeStore:
    """A client whose counts and connection the test sets."""

    def __init__(self) -> None:
        self.answered = self.failed = self.refused = self.probes = 0
        self.is_connected = True
        self.is_hanging = False
        # The server's reply to a write, and its maxmemory; None where INFO is not allowed.
        self.refusal: str | None = None
        self.maxmemory: int | None = 512 * 2**20
        self.reason_of_oom = Reason.FULL_MEMORY

    async def probe(self) -> object:
        self.probes += 1
        if self.is_hanging or not self.is_connected:
            self.failed += 1
            raise StoreUnavailable("it does not answer")
        self.answered += 1
        if self.refusal is not None:
            self.refused += 1
            reason = self.reason_of_oom if self.refusal.startswith("OOM") else Reason.FULL_DISK
            raise StoreUnavailable(f"the store cannot serve now: {self.refusal}", reason=reason)
        return b"OK"

    async def execute(self, *command: str) -> object:
        assert command == ("INFO", "memory")
        if self.maxmemory is None:
            raise ReplyError("NOPERM this user has no permissions")
        return f"# Memory\r\nused_memory:1000\r\nmaxmemory:{self.maxmemory}\r\nmaxmemory_policy:noeviction\r\n".encode()


class Watched:
    def __init__(self, folder: Path | None = None, name: str = "0a", store: FakeStore | None = None) -> None:
        self.store = store or FakeStore()
        self.now = 0.0
        outage = SharedOutage(folder, name)
        self.watch = StoreWatch(
            self.store, away=outage, partly=outage.of("part"), full=outage.of("room"), clock=lambda: self.now
        )

    async def checks(self, count: int) -> None:
        for _ in range(count):
            self.now += 1.0
            await self.watch.check()

    async def refuse_a_write(self, refusal: str) -> None:
        """A write is refused while reads are answered, and the watch looks."""
        self.store.refusal = refusal
        self.store.answered += 100
        self.store.refused += 1
        await self.checks(1)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("fault", ["is_hanging", "is_disconnected"])
async def test_an_outage_is_one_line_and_its_end_another(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    await watched.checks(3)
    if fault == "is_hanging":
        watched.store.is_hanging, watched.store.failed = True, 4
    else:
        watched.store.is_connected = False
    await watched.checks(5)
    watched.store.is_hanging, watched.store.is_connected = False, True
    await watched.checks(5)
    assert warnings(caplog) == [
        "the store is away: it does not answer; reads come from caches and orders are refused until it is back",
        "the store is back after 5.0 s",
    ]


async def test_a_store_that_answers_is_not_probed() -> None:
    watched = Watched()
    watched.store.answered = 7
    await watched.checks(5)
    assert watched.store.probes == 0


async def test_a_single_slow_call_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.store.failed = 1
    await watched.checks(5)
    assert watched.store.probes == 1
    assert not caplog.records


async def test_full_memory_is_one_line_with_its_limit_and_its_end_another(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    await watched.refuse_a_write("OOM command not allowed when used memory > 'maxmemory'.")
    await watched.checks(4)
    watched.store.refusal = None
    await watched.checks(5)
    assert warnings(caplog) == [
        MEMORY_TEXT,
        "the store has room again after 5.0 s: carts and orders are accepted",
    ]


async def test_the_line_has_no_limit_where_it_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.store.maxmemory = None
    await watched.refuse_a_write("OOM command not allowed")
    assert warnings(caplog) == [
        "the store's memory is full: reads go on, carts and orders are refused until there is room"
    ]


@pytest.mark.parametrize(
    ("refusal", "maxmemory", "why"),
    [
        ("MISCONF Errors writing to the AOF file: No space left on device", 0, "No space left on device"),
        (
            "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands",
            0,
            "its last snapshot failed",
        ),
        ("OOM command not allowed", READ_ONLY_MAXMEMORY, "it is almost full"),
    ],
)
async def test_a_full_disk_is_named(refusal: str, maxmemory: int, why: str, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.store.maxmemory = maxmemory
    await watched.refuse_a_write(refusal)
    await watched.checks(3)
    assert warnings(caplog) == [
        f"the store cannot write to its disk ({why}): reads go on, carts and orders are refused until it can"
    ]


async def test_responses_name_the_disk_where_the_embedded_store_is_read_only_and_memory_later() -> None:
    watched = Watched()
    watched.store.maxmemory = READ_ONLY_MAXMEMORY
    await watched.refuse_a_write("OOM command not allowed")
    assert watched.store.reason_of_oom is Reason.FULL_DISK
    watched.store.refusal = None
    await watched.checks(1)
    watched.store.maxmemory = 2**20
    await watched.refuse_a_write("OOM command not allowed")
    assert str(watched.store.reason_of_oom) == "full-memory"


async def test_a_store_that_comes_back_full_is_back_and_full(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.store.is_connected = False
    await watched.checks(2)
    watched.store.is_connected, watched.store.refusal = True, "OOM command not allowed"
    await watched.checks(2)
    assert warnings(caplog)[1:] == ["the store is back after 2.0 s", MEMORY_TEXT]


async def test_readiness_has_the_same_words_and_notices_before_any_write_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    await watched.watch.check_writes()
    watched.store.refusal = "OOM command not allowed"
    with pytest.raises(Impaired) as impaired:
        await watched.watch.check_writes()
    assert [str(impaired.value)] == warnings(caplog) == [MEMORY_TEXT]


async def test_readiness_fails_where_the_store_is_away() -> None:
    watched = Watched()
    watched.store.is_hanging = True
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await watched.watch.check_writes()


async def test_all_workers_of_a_gateway_log_a_full_store_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = [Watched(tmp_path / "store", name) for name in ("0a", "1a")]
    for worker in workers:
        await worker.refuse_a_write("OOM command not allowed")
    for worker in workers:
        worker.store.refusal = None
        await worker.checks(1)
    assert warnings(caplog) == [MEMORY_TEXT, "the store has room again after 1.0 s: carts and orders are accepted"]


class FakeCluster(FakeStore):
    """A client of two servers, of which `sick` fails all its calls while it hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.well, self.sick = FakeStore(), FakeStore()

    async def probe(self) -> object:
        await self.well.probe()
        try:
            return await self.sick.probe()
        except StoreUnavailable as error:
            raise StorePartlyUnavailable(f"store-b:6379: {error}") from error


async def test_one_server_of_a_cluster_that_is_away_is_named_while_the_others_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = FakeCluster()
    outage = SharedOutage(None, "0a")
    watch = StoreWatch(
        cluster,
        away=outage,
        partly=outage.of("part"),
        full=outage.of("room"),
        servers=lambda: [cluster.well, cluster.sick],
        clock=lambda: 0.0,
    )
    await watch.check()
    cluster.sick.is_hanging = True
    cluster.sick.failed, cluster.well.answered = 4, 400
    await watch.check()
    with pytest.raises(Impaired, match=r"some servers of the store are away: store-b:6379: it does not answer"):
        await watch.check_writes()
    cluster.sick.is_hanging = False
    await watch.check()
    assert warnings(caplog) == [
        "some servers of the store are away: store-b:6379: it does not answer; the carts and orders of the others are served",
        "all servers of the store are back after 0.0 s",
    ]

"""A store that was emptied or lost writes: one log line, degraded readiness for an hour, and a memory for the next process."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.resilience.known_store import KnownStore, Record
from gateway.resilience.store_history import ALARM_S, StoreDataLost, StoreHistory
from store import Script, StoreUnavailable
from tests.virtual_time import in_virtual_time

URL = "redis://till:penny@store.internal:6379/0"


class FakeStore:
    """The keys of the mark and the counts; `is_away` fails every call."""

    def __init__(self) -> None:
        self.mark: str | None = None
        self.counts: dict[object, int] = {}
        self.noticed: set[object] = set()
        self.is_away = False

    def empty(self) -> None:
        self.mark = None
        self.counts.clear()
        self.noticed.clear()

    async def _answer(self, reply: Any) -> Any:
        if self.is_away:
            raise StoreUnavailable("away")
        return reply() if callable(reply) else reply

    def run(self, _script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Awaitable[Any]:
        def count() -> list[Any]:
            self.mark = self.mark or str(args[0])
            self.counts[keys[1]] = self.counts.get(keys[1], 0) + 1
            return [self.mark.encode(), self.counts[keys[1]]]

        return self._answer(count)

    def execute(self, *command: Any) -> Awaitable[Any]:
        def notice() -> bytes | None:
            is_first = command[1] not in self.noticed
            self.noticed.add(command[1])
            return b"OK" if is_first else None

        return self._answer(notice)

    def execute_blocking(self, *command: Any, timeout_s: float) -> Awaitable[Any]:
        raise NotImplementedError


class World:
    def __init__(self, data_dir: Path) -> None:
        self.store = FakeStore()
        self.data_dir = data_dir
        self.now = 1_000_000.0

    def process(self, *, gateway: str = "shop-1", url: str = URL) -> StoreHistory:
        return StoreHistory(self.store, KnownStore(self.data_dir, url), gateway, wall_clock=lambda: self.now)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def alarm_of(history: StoreHistory) -> str | None:
    try:
        await history.check()
    except StoreDataLost as lost:
        return str(lost)
    return None


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


@in_virtual_time
async def test_a_first_start_and_an_outage_are_no_loss(world: World, caplog: pytest.LogCaptureFixture) -> None:
    history = world.process()
    await history.advance()
    world.store.is_away = True
    await history.advance()
    world.store.is_away = False
    await history.advance()
    assert await alarm_of(history) is None
    assert not errors(caplog)


@in_virtual_time
async def test_an_emptied_store_is_one_line_of_a_gateway_and_an_alarm_in_each_of_its_processes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    processes = [world.process(), world.process(), world.process(gateway="shop-2")]
    for history in processes:
        await history.advance()
    world.store.empty()
    for history in processes * 2:
        await history.advance()
    assert len(errors(caplog)) == 2
    assert "the store was emptied" in errors(caplog)[0]
    for history in processes:
        assert "the store was emptied" in str(await alarm_of(history))
        assert history.snapshot() == {"losses": {"emptied": 1, "partly-emptied": 0, "went-back": 0}}
    world.now += ALARM_S
    assert await alarm_of(processes[0]) is None


@in_virtual_time
async def test_lost_writes_are_said_as_well(world: World, caplog: pytest.LogCaptureFixture) -> None:
    history = world.process()
    for _ in range(3):
        await history.advance()
    world.store.counts = dict.fromkeys(world.store.counts, 1)
    await history.advance()
    assert "has lost its last writes" in str(await alarm_of(history))
    assert len(errors(caplog)) == 1
    (metric,) = history.metrics()
    assert {sample.labels["kind"]: sample.value for sample in metric.samples} == {
        "emptied": 0,
        "partly-emptied": 0,
        "went-back": 1,
    }


@in_virtual_time
async def test_the_next_process_knows_the_data_by_the_file_of_the_data_directory(world: World) -> None:
    await world.process().advance()
    world.store.empty()
    later = world.process()
    await later.advance()
    assert "the store was emptied" in str(await alarm_of(later))
    # And one that starts within the hour says it too, without a second loss.
    restarted = world.process()
    await restarted.advance()
    assert "the store was emptied" in str(await alarm_of(restarted))
    assert restarted.snapshot() == {"losses": {"emptied": 0, "partly-emptied": 0, "went-back": 0}}


@in_virtual_time
async def test_another_address_is_another_store_and_another_password_is_not(world: World) -> None:
    await world.process().advance()
    world.store.empty()
    elsewhere = world.process(url="redis://other.internal:6379/0")
    await elsewhere.advance()
    assert await alarm_of(elsewhere) is None
    await world.process().advance()
    world.store.empty()
    same = world.process(url="redis://till:shilling@store.internal:6379/0")
    await same.advance()
    assert await alarm_of(same) is not None
    assert "penny" not in (world.data_dir / "store-generation.json").read_text()


@in_virtual_time
async def test_shared_keys_are_written_again_until_that_succeeds(world: World) -> None:
    history = world.process()
    attempts: list[str] = []

    async def repair() -> None:
        attempts.append("tried")
        if len(attempts) == 1:
            raise StoreUnavailable("away again")

    history.on_emptied(repair)
    await history.advance()
    assert not attempts
    world.store.empty()
    for _ in range(4):
        await history.advance()
    assert len(attempts) == 2


@pytest.mark.parametrize("content", [b"", b"{", b'{"store": 1}', b"\xff"])
def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store-generation.json").write_bytes(content)
    assert KnownStore(tmp_path, URL).read() == Record()


def test_a_directory_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    file = KnownStore(tmp_path / "nowhere", URL)
    file.write(Record("mark"))
    assert file.read() == Record()


def test_the_file_belongs_to_its_user_alone_and_is_replaced_whole(tmp_path: Path) -> None:
    file = KnownStore(tmp_path, URL)
    file.write(Record("first"))
    file.write(Record("second", "emptied", 12.5))
    assert file.read() == Record("second", "emptied", 12.5)
    assert [path.name for path in tmp_path.iterdir()] == ["store-generation.json"]
    assert (tmp_path / "store-generation.json").stat().st_mode & 0o077 == 0

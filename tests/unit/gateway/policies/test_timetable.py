"""Events begin, prewarm and end by themselves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.config.policies import Event, Limit, Policies, Room
from gateway.control.commands import CommandFailed
from gateway.policies.timetable import LONGEST_WAIT_S, Timetable
from tests.virtual_time import in_virtual_time, loop_time

OPENING = datetime(2026, 11, 27, 8, tzinfo=UTC)
START = OPENING + timedelta(hours=1)
END = START + timedelta(hours=1)


def shop(**members: Any) -> Policies:
    usual: dict[str, Any] = {
        "start": START,
        "end": END,
        "prewarm_s": 600.0,
        "limits": {"a": 5},
        "rooms": {"drop": True},
    }
    sale = Event(name="sale", **usual | members)
    return Policies(
        limits=(Limit(name="a", by="address", quota=100),),
        rooms=(Room(name="drop", routes=("*",), admissions_per_s=1, max_active=1, enabled=False),),
        events=(sale,),
    )


class Day:
    """A day that begins at `OPENING`, and its events with their minutes."""

    def __init__(self) -> None:
        self.happened: list[tuple[float, Any]] = []
        self.failures = 0

    def now(self) -> float:
        return OPENING.timestamp() + loop_time()

    async def apply(self, policies: Policies) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("not now")
        self.note((policies.limits[0].quota, policies.rooms[0].enabled))

    async def prewarm(self, path: str) -> None:
        self.note(path)
        if path == "/broken":
            raise RuntimeError("no answer")
        if path == "/hangs":
            await asyncio.sleep(24 * 3600)

    def note(self, what: Any) -> None:
        self.happened.append((round(loop_time() / 60, 3), what))

    @asynccontextmanager
    async def following(self, policies: Policies) -> AsyncIterator[Timetable]:
        timetable = Timetable(policies, apply=self.apply, prewarm=self.prewarm, now=self.now)
        task = asyncio.create_task(timetable.run())
        try:
            yield timetable
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@in_virtual_time
async def test_an_event_opens_its_room_tightens_and_reverts_at_its_moments() -> None:
    day = Day()
    async with day.following(shop(prewarm=("/a", "/b"))):
        await asyncio.sleep(3 * 3600)
    assert day.happened == [(50, (100, True)), (50, "/a"), (50, "/b"), (60, (5, True)), (120, (100, False))]


@in_virtual_time
async def test_a_worker_that_starts_during_an_event_follows_it_at_once() -> None:
    day = Day()
    await asyncio.sleep(90 * 60)
    async with day.following(shop(prewarm=("/a",))) as timetable:
        assert timetable.effective.limits[0].quota == 5
        await asyncio.sleep(3600)
    assert day.happened == [(120, (100, False))]


@pytest.mark.parametrize("moment", [START - timedelta(minutes=10), START, END], ids=["opening", "start", "end"])
@in_virtual_time
async def test_a_timer_that_fires_a_moment_early_delays_nothing(moment: datetime) -> None:
    class Early(Day):
        """The moment passes after the first look at the clock."""

        is_passed = False

        def now(self) -> float:
            if super().now() < moment.timestamp() or self.is_passed:
                return super().now()
            self.is_passed = True
            return moment.timestamp() - 0.0001

    day = Early()
    async with day.following(shop(prewarm=("/a",))):
        await asyncio.sleep(3 * 3600)
    assert day.happened == [(50, (100, True)), (50, "/a"), (60, (5, True)), (120, (100, False))]


@in_virtual_time
async def test_policies_that_fail_to_apply_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    day = Day()
    day.failures = 2
    async with day.following(shop(prewarm_s=0.0)):
        await asyncio.sleep(3600 + 3 * LONGEST_WAIT_S)
    assert day.happened == [(60 + 2 * LONGEST_WAIT_S / 60, (5, True))]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]


@in_virtual_time
async def test_a_path_that_cannot_be_fetched_keeps_no_other_back(caplog: pytest.LogCaptureFixture) -> None:
    day = Day()
    async with day.following(shop(prewarm=("/broken", "/a"))):
        await asyncio.sleep(55 * 60)
    assert [what for _, what in day.happened] == [(100, True), "/broken", "/a"]
    assert "cannot fetch /broken before its event: no answer" in caplog.text


@in_virtual_time
async def test_a_path_that_hangs_does_not_keep_an_event_from_its_start() -> None:
    day = Day()
    async with day.following(shop(prewarm=("/hangs",))):
        await asyncio.sleep(61 * 60)
    assert day.happened[-1] == (60, (5, True))


@in_virtual_time
async def test_a_reload_takes_over_at_once() -> None:
    day = Day()
    async with day.following(shop()) as timetable:
        await asyncio.sleep(100 * 60)
        sooner = shop(end=START + timedelta(minutes=41))
        timetable.update(sooner, timetable.at_this_moment(sooner))
        await asyncio.sleep(60 * 60)
    assert day.happened == [(50, (100, True)), (60, (5, True)), (101, (100, False))]


@in_virtual_time
async def test_events_can_be_seen() -> None:
    day = Day()
    async with day.following(shop()) as timetable:
        assert timetable.snapshot() == {
            "running": [],
            "coming": ["sale"],
            "next_change": (START - timedelta(minutes=10)).isoformat(),
            "moved": [],
        }
        await asyncio.sleep(61 * 60)
        assert timetable.snapshot() == {
            "running": ["sale"],
            "coming": [],
            "next_change": END.isoformat(),
            "moved": [],
        }
        (running,) = timetable.metrics()
        assert [(sample.labels, sample.value) for sample in running.samples] == [({"event": "sale"}, 1.0)]
        await asyncio.sleep(3600)
        assert timetable.snapshot() == {"running": [], "coming": [], "next_change": None, "moved": []}


@in_virtual_time
async def test_an_event_that_an_operator_starts_early_ends_as_planned() -> None:
    day = Day()
    async with day.following(shop()) as timetable:
        await asyncio.sleep(5 * 60)
        await timetable.commands["event"]({"name": "sale", "start": day.now(), "end": None})
        await asyncio.sleep(60)
        assert (timetable.snapshot()["running"], timetable.snapshot()["moved"]) == (["sale"], ["sale"])
        await asyncio.sleep(3 * 3600)
    assert day.happened == [(5, (5, True)), (120, (100, False))]


@in_virtual_time
async def test_an_event_that_an_operator_ends_early_stays_ended_over_a_reload() -> None:
    day = Day()
    async with day.following(shop()) as timetable:
        await asyncio.sleep(70 * 60)
        await timetable.commands["event"]({"name": "sale", "start": None, "end": day.now()})
        await asyncio.sleep(60)
        reloaded = shop()
        timetable.update(reloaded, timetable.at_this_moment(reloaded))
        await asyncio.sleep(3 * 3600)
    assert day.happened == [(50, (100, True)), (60, (5, True)), (70, (100, False))]


@in_virtual_time
async def test_the_times_of_the_file_apply_again_once_an_operator_withdraws_others() -> None:
    day = Day()
    async with day.following(shop()) as timetable:
        await timetable.commands["event"]({"name": "sale", "start": day.now(), "end": None})
        await asyncio.sleep(60)
        await timetable.commands["event"]({"name": "sale", "start": None, "end": None})
        await asyncio.sleep(60)
        assert timetable.snapshot()["coming"] == ["sale"]
    assert day.happened == [(0, (5, True)), (1, (100, False))]


async def test_an_event_that_the_file_lacks_cannot_be_moved() -> None:
    timetable = Timetable(shop(), apply=Day().apply, prewarm=Day().prewarm)
    with pytest.raises(CommandFailed, match="there is no event slae"):
        await timetable.commands["event"]({"name": "slae", "start": 0.0})

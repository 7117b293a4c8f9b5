"""Runs over dead letters: pace, progress, waits."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from checkout.dead_letter_desk import DeadLetterDesk, RunProgress
from checkout.ports.dead_letters import Act, DeadLetter, DeadLetterPage
from tests.virtual_time import in_virtual_time, loop_time


class FakeRun:
    """Takes `per_step` letters at a step at most; has none at the steps in `dry`."""

    def __init__(self, total: int, *, per_step: int = 100, dry: Collection[int] = (), is_paced: bool = False) -> None:
        self.total: int | None = total
        self.is_paced = is_paced
        self._left = total
        self._per_step = per_step
        self._dry = dry
        self._steps = 0

    async def step(self, limit: int) -> int | None:
        self._steps += 1
        if self._steps in self._dry:
            return 0
        taken = min(limit, self._per_step, self._left)
        self._left -= taken
        return taken or None


class FakeLetters:
    """`DeadLetters` with one run."""

    def __init__(self, run: FakeRun) -> None:
        self._run = run
        self.rate: float | None = None

    async def count(self) -> int:
        return self._run.total or 0

    async def page(self, *, limit: int, cursor: str | None = None) -> DeadLetterPage:
        return DeadLetterPage([], None)

    async def find(self, letter_id: str) -> DeadLetter | None:
        return None

    async def begin(self, act: Act, *, ids: Collection[str] | None = None, rate: float | None = None) -> FakeRun:
        self.rate = rate
        return self._run


def desk(run: FakeRun) -> DeadLetterDesk:
    return DeadLetterDesk(FakeLetters(run), clock=loop_time)


@pytest.mark.parametrize(("total", "rate"), [(1000, 500.0), (10, 2.0), (50, 0.5)])
@in_virtual_time
async def test_a_run_keeps_to_its_rate(total: int, rate: float) -> None:
    assert await desk(FakeRun(total)).run("redrive", rate=rate) == total
    assert loop_time() == pytest.approx(total / rate)


@in_virtual_time
async def test_a_queue_that_paces_itself_is_not_slowed_down_twice() -> None:
    await desk(FakeRun(1000, is_paced=True)).run("redrive", rate=1.0)
    assert loop_time() == 0


@in_virtual_time
async def test_a_run_waits_for_letters_that_cannot_be_had_now() -> None:
    assert await desk(FakeRun(20, per_step=10, dry={2, 3})).run("redrive", rate=None) == 20
    assert loop_time() == 2


@in_virtual_time
async def test_progress_ends_with_all() -> None:
    seen: list[RunProgress] = []
    await desk(FakeRun(250)).run("drop", rate=None, progress=seen.append)
    assert [each.done for each in seen] == [0, 100, 200, 250]
    assert {each.total for each in seen} == {250}

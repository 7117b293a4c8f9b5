from __future__ import annotations

import asyncio

import pytest

from primitives.background import STABLE_S, BackgroundTask, BackgroundTasks, TaskState
from primitives.backoff import Backoff
from tests.virtual_time import in_virtual_time, loop_time
from tests.waiting import until


class Flaky:
    """Fails the first `failures` runs, each after `lasts_s`, then runs until cancelled or stopped."""

    def __init__(self, failures: int, *, lasts_s: float = 0.0) -> None:
        self.failures = failures
        self.lasts_s = lasts_s
        self.started_at: list[float] = []
        self.stopping = asyncio.Event()
        self.was_cancelled = False

    async def run(self) -> None:
        self.started_at.append(loop_time())
        if len(self.started_at) <= self.failures:
            await asyncio.sleep(self.lasts_s)
            raise ValueError(f"failure {len(self.started_at)}")
        try:
            await self.stopping.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


def supervised(flaky: Flaky) -> BackgroundTask:
    return BackgroundTask("flaky", flaky.run, backoff=Backoff(1.0, 8.0, chance=lambda: 1.0), clock=loop_time)


@in_virtual_time
async def test_a_task_that_dies_is_restarted_with_back_off() -> None:
    flaky = Flaky(5)
    task = supervised(flaky)
    await until(lambda: len(flaky.started_at) == 6, within_s=100.0)
    assert flaky.started_at == pytest.approx([0.0, 1.0, 3.0, 7.0, 15.0, 23.0])
    assert task.state.restarts == 5
    assert task.state.is_running
    await task.close()


@in_virtual_time
async def test_only_the_time_of_the_last_run_counts_as_stable() -> None:
    flaky = Flaky(3)
    task = BackgroundTask(
        "flaky", flaky.run, backoff=Backoff(1.0, 8.0, chance=lambda: 1.0), clock=lambda: 10 * STABLE_S + loop_time()
    )
    await until(lambda: len(flaky.started_at) == 4, within_s=100.0)
    assert flaky.started_at == pytest.approx([0.0, 1.0, 3.0, 7.0])
    await task.close()


@in_virtual_time
async def test_the_death_of_a_task_is_reported_until_it_has_run_for_a_minute() -> None:
    tasks = BackgroundTasks()
    flaky = Flaky(1)
    task = supervised(flaky)
    tasks.add(task)
    await until(lambda: tasks.failing)
    assert tasks.failing == {"flaky": "ValueError: failure 1"}
    assert not tasks.states["flaky"].is_running
    await until(lambda: tasks.states["flaky"].is_running)
    assert tasks.failing == {"flaky": "ValueError: failure 1; it has been restarted"}
    # Long enough for a probe to see it.
    await asyncio.sleep(STABLE_S)
    assert not tasks.failing
    assert tasks.states["flaky"].restarts == 1
    assert tasks.states["flaky"].last_error == "ValueError: failure 1"
    await task.close()


@in_virtual_time
async def test_a_task_that_ran_long_starts_with_the_first_delay_again() -> None:
    flaky = Flaky(3, lasts_s=STABLE_S)
    task = supervised(flaky)
    await until(lambda: len(flaky.started_at) == 4, within_s=1000.0, step_s=1.0)
    assert flaky.started_at == pytest.approx([0.0, STABLE_S + 1, 2 * (STABLE_S + 1), 3 * (STABLE_S + 1)])
    await task.close()


async def test_closing_cancels_a_task() -> None:
    flaky = Flaky(0)
    task = BackgroundTask("flaky", flaky.run)
    await until(lambda: flaky.started_at)
    await task.close()
    assert flaky.was_cancelled


async def test_closing_lets_a_task_with_a_stop_end_by_itself() -> None:
    flaky = Flaky(0)
    task = BackgroundTask("flaky", flaky.run, stop=flaky.stopping.set)
    await until(lambda: flaky.started_at)
    await task.close()
    assert not flaky.was_cancelled
    assert task.state.restarts == 0


async def test_closing_waits_for_a_stop_that_is_awaited() -> None:
    flaky = Flaky(0)

    async def stop() -> None:
        await asyncio.sleep(0)
        flaky.stopping.set()

    task = BackgroundTask("flaky", flaky.run, stop=stop)
    await until(lambda: flaky.started_at)
    await task.close()
    assert not flaky.was_cancelled


@in_virtual_time
async def test_closing_ends_a_task_that_waits_for_its_restart() -> None:
    flaky = Flaky(1)
    task = BackgroundTask("flaky", flaky.run, stop=flaky.stopping.set)
    await until(lambda: not task.state.is_running)
    await task.close()
    assert len(flaky.started_at) == 1


def task_named(name: str) -> asyncio.Task[object]:
    return next(task for task in asyncio.all_tasks() if task.get_name() == name)


@in_virtual_time
async def test_a_task_that_is_cancelled_by_someone_else_is_restarted() -> None:
    flaky = Flaky(0)
    task = supervised(flaky)
    await until(lambda: flaky.started_at)
    task_named("flaky").cancel()
    await until(lambda: len(flaky.started_at) == 2)
    assert task.state == TaskState(is_running=True, restarts=1, last_error="TaskEnded: it was cancelled")
    await task.close()
    assert task.state.restarts == 1


@in_virtual_time
async def test_a_task_that_returns_though_nobody_stopped_it_is_restarted() -> None:
    runs = 0

    async def returns() -> None:
        nonlocal runs
        runs += 1
        if runs > 2:
            await asyncio.Event().wait()

    task = BackgroundTask("short", returns)
    await until(lambda: runs == 3)
    assert task.state == TaskState(is_running=True, restarts=2, last_error="TaskEnded: it returned")
    await task.close()


@in_virtual_time
async def test_of_a_group_of_tasks_the_error_of_the_first_is_reported() -> None:
    async def fails() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(Flaky(1).run())

    task = BackgroundTask("group", fails)
    await until(lambda: task.state.restarts > 0)
    assert task.state.last_error == "ValueError: failure 1"
    await task.close()


async def test_the_end_of_the_loop_ends_a_task_that_nobody_closes() -> None:
    flaky = Flaky(0)

    def run_and_leave() -> None:
        async def leave() -> None:
            BackgroundTask("flaky", flaky.run)
            await until(lambda: flaky.started_at)

        asyncio.run(leave())

    await asyncio.to_thread(run_and_leave)
    assert flaky.was_cancelled
    assert len(flaky.started_at) == 1


async def test_tasks_have_different_names() -> None:
    tasks = BackgroundTasks()
    task = tasks.start("flaky", Flaky(0).run)
    with pytest.raises(AssertionError, match="two background tasks are named flaky"):
        tasks.add(task)
    await task.close()

from __future__ import annotations

from gateway.admin.background_stats import BackgroundStats
from primitives.background import BackgroundTasks
from tests.waiting import until


async def fails() -> None:
    raise ValueError("no such partition")


async def test_operators_see_how_often_a_task_died_and_why() -> None:
    tasks = BackgroundTasks()
    task = tasks.start("sweeper", fails)
    await until(lambda: tasks.failing)
    stats = BackgroundStats(tasks)
    shown = stats.snapshot()["sweeper"]
    assert shown["restarts"] >= 1
    assert shown["last_error"] == "ValueError: no such partition"
    running, restarts = stats.metrics()
    assert running.name == "peakgate_background_task_running"
    assert [sample.labels for sample in restarts.samples] == [{"task": "sweeper"}]
    assert restarts.samples[0].value >= 1
    await task.close()

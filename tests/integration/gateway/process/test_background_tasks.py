"""Every background task of a worker is restarted when it dies, counted, and seen in its readiness."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway.metrics import Metric
from store import Client
from tests.integration.gateway.proxy.raw_upstream import once
from tests.integration.gateway.whole_gateway import WholeGateway, whole_gateway
from tests.waiting import until

TASKS = {
    "audit",
    "attention",
    "connections",
    "erasures",
    "events for archive",
    "events for webhooks",
    "holds of carts",
    "keys",
    "keys of the issuer",
    "load shedding",
    "low stock",
    "order worker",
    "changes of orders and stock",
    "order counts",
    "outbox",
    "prices",
    "purges",
    "retention of orders",
    "search feed",
    "stock of carts",
    "stalled orders",
    "stock sweeper",
    "store guard",
    "store recheck",
    "store history",
    "store watch",
    "timetable",
    "trending products",
    "waiting rooms",
    "webhooks",
}


def task_of(name: str) -> asyncio.Task[Any]:
    return next(task for task in asyncio.all_tasks() if task.get_name() == name and not task.done())


async def readiness_of(gateway: WholeGateway) -> Any:
    return json.loads((await gateway.get("/readyz")).body)


async def restarts_of(gateway: WholeGateway) -> dict[str, float]:
    """The counter of each task, as Prometheus reads it."""
    metrics: list[Metric] = (await gateway.commands["snapshot"]({}))["metrics"]
    family = next(each for each in metrics if each.name == "peakgate_background_task_restarts_total")
    return {sample.labels["task"]: sample.value for sample in family.samples}


async def test_each_task_that_dies_is_restarted_counted_and_seen_in_readiness(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    async with whole_gateway(store_url, tmp_path, once(b"")) as gateway:
        assert await restarts_of(gateway) == dict.fromkeys(TASKS, 0)
        assert (await readiness_of(gateway))["background"] == {}
        killed = {name: task_of(name) for name in TASKS}
        for task in killed.values():
            task.cancel()
        await until(lambda: all(task.done() for task in killed.values()))
        readiness = await readiness_of(gateway)
        assert set(readiness["background"]) == TASKS
        assert readiness["status"] == "degraded"
        await until(lambda: {task.get_name() for task in asyncio.all_tasks()} >= TASKS)
        assert await restarts_of(gateway) == dict.fromkeys(TASKS, 1)
        readiness = await readiness_of(gateway)
        assert readiness["background"]["prices"] == "TaskEnded: it was cancelled; it has been restarted"


async def test_every_task_of_a_worker_that_runs_for_ever_is_supervised(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    before = asyncio.all_tasks()
    async with whole_gateway(store_url, tmp_path, once(b"")):
        await until(lambda: {task.get_name() for task in asyncio.all_tasks()} >= TASKS)
        started = asyncio.all_tasks() - before
        supervised = {*TASKS, *(f"{name}, supervised" for name in TASKS)}
        others = {coroutine_of(task) for task in started if task.get_name() not in supervised}
        # They belong to a group, and end their supervised task when they die.
        assert others <= {
            "EventRelay._relay_forever",
            "EventRelay._sweep_forever",
            "OrderWorker._extend_forever",
            "OrderWorker._interrupt_on_stop",
            "OutboxDispatcher._send_forever",
            "OutboxDispatcher._sweep_forever",
            "Webhooks._deliver_forever",
            "Webhooks._sweep_forever",
        }


def coroutine_of(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", task))

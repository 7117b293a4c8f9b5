"""Asking workers: those that are not there, and those that hang."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.admin.workers import NoReply, WorkerFailed, WorkerGone, Workers
from gateway.control.runtime_directory import RuntimeDirectory
from tests.unit.gateway.admin.small_workers import Fleet
from tests.waiting import until


async def test_the_control_process_is_no_worker(fleet: Fleet, workers: Workers) -> None:
    fleet.list("0a", "1b")
    assert [worker.name for worker in workers.all()] == ["0a", "1b"]


async def test_a_worker_that_never_started_is_gone(workers: Workers) -> None:
    with pytest.raises(WorkerGone):
        await workers.call("0a", "vitals")


async def test_a_worker_that_left_its_socket_behind_is_gone(workers: Workers, runtime: RuntimeDirectory) -> None:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(runtime.socket_of("0a")))
    with pytest.raises(WorkerGone):
        await workers.call("0a", "vitals")


async def test_a_worker_that_ends_before_it_replies_is_gone(fleet: Fleet, workers: Workers) -> None:
    worker = await fleet.start("0a")
    worker.stuck_in = "vitals"
    asked = asyncio.create_task(workers.call("0a", "vitals"))
    await until(lambda: worker.stuck)
    await fleet.stop("0a")
    with pytest.raises(WorkerGone):
        await asked


async def test_a_worker_with_a_full_backlog_hangs_and_is_not_gone(runtime: RuntimeDirectory) -> None:
    with socket.socket(socket.AF_UNIX) as hangs, socket.socket(socket.AF_UNIX) as first:
        hangs.bind(str(runtime.socket_of("0a")))
        hangs.listen(0)
        first.connect(str(runtime.socket_of("0a")))
        with pytest.raises(NoReply) as caught:
            await Workers(runtime, reply_timeout_s=0.2).call("0a", "vitals")
        assert not isinstance(caught.value, WorkerGone)


async def test_results_and_faults_are_listed_by_worker(fleet: Fleet, workers: Workers) -> None:
    await fleet.start("0a")
    (await fleet.start("1a")).refuses_because = "no"
    fleet.list("0a", "1a", "2a")
    told = await workers.call_all("purge", tag="sale")
    assert told["0a"] == 3
    assert isinstance(told["1a"], WorkerFailed)
    assert isinstance(told["2a"], WorkerGone)

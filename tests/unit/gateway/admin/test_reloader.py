"""All workers go by one file, or stay with the one before."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.reloader import Reloader
from gateway.admin.workers import Workers
from gateway.control.runtime_directory import RuntimeDirectory
from tests.unit.gateway.admin.small_workers import Fleet, write

ONE = '[[switches]]\nname = "search"\n'
OTHER = '[[switches]]\nname = "reviews"\n'


@pytest.fixture(autouse=True)
def _log_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def reloader_of(file: Path, workers: Workers, runtime: RuntimeDirectory, **more: Any) -> Reloader:
    return Reloader(
        file, workers, runtime, **{"started_with": {}, "prepare_timeout_s": 30.0, "now": lambda: 7.0, **more}
    )


@pytest.fixture
def reloader(file: Path, workers: Workers, runtime: RuntimeDirectory) -> Reloader:
    return reloader_of(file, workers, runtime)


async def test_a_valid_file_is_active_in_every_worker(
    file: Path, fleet: Fleet, reloader: Reloader, runtime: RuntimeDirectory
) -> None:
    first, second = await fleet.start("0a"), await fleet.start("1a")
    write(file, ONE)
    reload = await reloader.reload()
    assert (reload.outcome, reload.at, reload.digest) == ("applied", 7.0, first.digest)
    assert first.digest == second.digest == reloader.active.digest
    assert [first.swaps, second.swaps] == [1, 1]
    assert runtime.policies == ONE


async def test_an_invalid_file_is_rejected_whole_with_every_fault(
    file: Path,
    fleet: Fleet,
    reloader: Reloader,
    runtime: RuntimeDirectory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = await fleet.start("0a")
    before = worker.digest
    write(file, '[[switches]]\nname = "Search"\npercent = 101\n')
    reload = await reloader.reload()
    assert reload.outcome == "rejected"
    assert [fault.rpartition("/")[2].partition(": ")[0] for fault in reload.errors] == [
        "peakgate.toml:2",
        "peakgate.toml:3",
    ]
    assert (worker.digest, worker.swaps, runtime.policies) == (before, 0, "")
    assert [record.message for record in caplog.records][1:] == list(reload.errors)
    assert reloader.counts == {"applied": 0, "unchanged": 0, "rejected": 1}


async def test_a_missing_file_is_rejected_too(file: Path, reloader: Reloader) -> None:
    write(file, None)
    reload = await reloader.reload()
    assert reload.outcome == "rejected"
    assert "cannot be read" in reload.errors[0]


async def test_a_worker_that_cannot_prepare_keeps_all_policies_unchanged(
    file: Path, fleet: Fleet, reloader: Reloader, runtime: RuntimeDirectory
) -> None:
    able, unable = await fleet.start("0a"), await fleet.start("1a")
    unable.refuses_because = "no such upstream"
    write(file, ONE)
    reload = await reloader.reload()
    assert (reload.outcome, reload.errors) == ("rejected", ("worker 1a: no such upstream",))
    assert (able.swaps, unable.swaps, runtime.policies) == (0, 0, "")


async def test_a_stuck_worker_delays_a_reload_within_a_bound(
    file: Path, fleet: Fleet, workers: Workers, runtime: RuntimeDirectory
) -> None:
    reloader = reloader_of(file, workers, runtime, prepare_timeout_s=1.0)
    able, stuck = await fleet.start("0a"), await fleet.start("1a")
    stuck.stuck_in = "prepare"
    write(file, ONE)
    reload = await reloader.reload()
    assert (reload.outcome, able.swaps) == ("rejected", 0)
    assert reload.errors == ("worker 1a: did not reply within 1 s",)


async def test_a_worker_that_is_gone_blocks_no_reload(file: Path, fleet: Fleet, reloader: Reloader) -> None:
    able = await fleet.start("0a")
    await fleet.start("1a")
    await fleet.stop("1a")
    write(file, ONE)
    assert (await reloader.reload()).outcome == "applied"
    assert (await fleet.start("1a")).digest == able.digest


async def test_a_worker_that_started_with_the_old_text_is_brought_into_step(
    file: Path, fleet: Fleet, reloader: Reloader
) -> None:
    late = await fleet.start("0a")
    fleet.list()
    write(file, ONE)
    await reloader.reload()
    assert late.swaps == 0
    fleet.list("0a")
    await reloader.update_lagging_workers()
    assert (late.digest, late.swaps) == (reloader.active.digest, 1)
    await reloader.update_lagging_workers()
    assert late.swaps == 1


async def test_a_worker_stuck_during_a_reload_is_named_and_updated_later(
    file: Path, fleet: Fleet, runtime: RuntimeDirectory
) -> None:
    reloader = reloader_of(file, Workers(runtime, reply_timeout_s=1.0, act_timeout_s=1.0), runtime)
    able, stuck = await fleet.start("0a"), await fleet.start("1a")
    stuck.stuck_in = "commit"
    write(file, ONE)
    reload = await reloader.reload()
    assert (reload.outcome, reload.lagging_workers, able.swaps, stuck.swaps) == ("applied", ("1a",), 1, 0)
    stuck.stuck_in = None
    await reloader.update_lagging_workers()
    assert stuck.digest == able.digest


async def test_a_worker_that_hangs_does_not_keep_a_reload_waiting_for_its_turn(
    file: Path, fleet: Fleet, runtime: RuntimeDirectory
) -> None:
    reloader = reloader_of(
        file, Workers(runtime, reply_timeout_s=1.0, act_timeout_s=1.0), runtime, prepare_timeout_s=3600.0
    )
    able, stuck = await fleet.start("0a"), await fleet.start("1a")
    runtime.policies = ONE
    reloader.active = reloader_of(file, Workers(runtime), runtime).active
    stuck.stuck_in = "vitals"
    await reloader.update_lagging_workers()
    assert (able.swaps, stuck.swaps) == (1, 0)


async def test_the_same_file_again_is_unchanged(file: Path, fleet: Fleet, reloader: Reloader) -> None:
    await fleet.start("0a")
    assert (await reloader.reload()).outcome == "unchanged"


async def test_settings_that_only_a_restart_changes_are_named(
    file: Path, workers: Workers, runtime: RuntimeDirectory
) -> None:
    reloader = reloader_of(file, workers, runtime, started_with={"port": 8080, "workers": 2})
    write(file, "port = 8081\nmax_lines = 10\nworkers = 2\n")
    assert (await reloader.reload()).needs_restart == ("max_lines", "port")
    write(file, "port = 8080\nworkers = 2\n")
    assert (await reloader.reload()).needs_restart == ()


async def test_a_policy_that_only_a_restart_changes_is_named(
    file: Path, workers: Workers, runtime: RuntimeDirectory
) -> None:
    reloader = reloader_of(file, workers, runtime)
    write(file, "[cache]\nhost_memory_bytes = 8000000\n")
    assert (await reloader.reload()).needs_restart == ("cache.host_memory_bytes",)
    write(file, "[cache]\nhost_memory_bytes = 67108864\n")
    assert (await reloader.reload()).needs_restart == ()


async def test_reloads_at_the_same_time_are_done_one_after_the_other(
    file: Path, fleet: Fleet, reloader: Reloader
) -> None:
    worker = await fleet.start("0a")
    write(file, ONE)
    outcomes = [reload.outcome for reload in await asyncio.gather(*(reloader.reload() for _ in range(3)))]
    assert outcomes == ["applied", "unchanged", "unchanged"]
    assert worker.digest == reloader.active.digest


async def test_how_reloads_went_outlives_the_control_process(
    file: Path, fleet: Fleet, reloader: Reloader, workers: Workers, runtime: RuntimeDirectory
) -> None:
    await fleet.start("0a")
    write(file, OTHER)
    await reloader.reload()
    write(file, "no")
    refused = await reloader.reload()
    next_one = reloader_of(file, workers, runtime)
    assert next_one.last == refused
    assert next_one.counts == {"applied": 1, "unchanged": 0, "rejected": 1}
    assert next_one.active.digest == reloader.active.digest

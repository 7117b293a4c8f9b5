from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway.admin.recent_traces import RecentTraces
from gateway.admin.trace_export import TraceExport
from gateway.admin.workers import NoReply, Workers
from gateway.control.runtime_directory import RuntimeDirectory
from primitives.tracing.spans import SERVER
from primitives.tracing.tracer import EndedTrace
from tests.waiting import until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# As JSON brings it.
WAITING = [[TRACE, "", [[2**64 - 1, 0, "root", SERVER, 1, 2, {"a": 1, "b": True}, ""]]]]


class FakeWorkers:
    """Workers with traces; `asked` counts the times that they were asked."""

    def __init__(self, *replies: Any) -> None:
        self.asked = 0
        self._replies = replies

    async def call_all(self, command: str, **_arguments: Any) -> Mapping[str, Any]:
        assert command == "traces"
        self.asked += 1
        return dict(enumerate(self._replies))  # type: ignore[arg-type]


class FakeExporter:
    """Accepts, refuses or fails as a test says; waits while it `is_held`."""

    def __init__(self) -> None:
        self.outcome: bool | Exception = True
        self.exported: list[EndedTrace] = []
        self.is_closed = False
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def export(self, traces: Sequence[EndedTrace]) -> bool:
        self.began.set()
        self.go_on.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        self.exported += traces
        return self.outcome

    def close(self) -> None:
        self.is_closed = True


def exporting(workers: FakeWorkers, exporter: FakeExporter) -> TraceExport:
    return TraceExport(cast("Workers", workers), exporter, RecentTraces(), every_s=0.0)


async def test_the_traces_of_all_workers_are_exported_and_counted() -> None:
    exporter = FakeExporter()
    export = exporting(FakeWorkers(WAITING, NoReply("stuck"), WAITING), exporter)
    await export.export_once()
    assert [(trace[0], trace[2][0][0]) for trace in exporter.exported] == [(TRACE, 2**64 - 1)] * 2
    assert export.snapshot() == {"exported": 2, "failed": 0}


async def test_the_traces_that_ended_workers_have_left_are_exported_once(tmp_path: Path) -> None:
    exporter, runtime = FakeExporter(), RuntimeDirectory(tmp_path)
    workers = cast("Workers", FakeWorkers([]))
    export = TraceExport(workers, exporter, RecentTraces(), left=runtime.take_left_traces)
    runtime.leave_traces("0a", msgspec.json.encode(WAITING))
    runtime.leave_traces("0b", msgspec.json.encode(WAITING))
    await export.export_once()
    await export.export_once()
    assert [trace[0] for trace in exporter.exported] == [TRACE] * 2
    assert not runtime.take_left_traces()


async def test_without_traces_nobody_is_called() -> None:
    exporter = FakeExporter()
    await exporting(FakeWorkers([]), exporter).export_once()
    assert not exporter.began.is_set()


@pytest.mark.parametrize("outcome", [False, ValueError("garbage")])
async def test_an_outage_is_counted_and_logged_once(
    outcome: bool | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = FakeExporter()
    export = exporting(FakeWorkers(WAITING), exporter)
    exporter.outcome = outcome
    for _ in range(3):
        await export.export_once()
    exporter.outcome = True
    await export.export_once()
    assert export.snapshot() == {"exported": 1, "failed": 3}
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.partition(";")[0] for line in lines] == [
        "the collector of traces does not accept them",
        "the collector of traces accepts them again",
    ]


async def test_while_an_export_waits_nothing_is_fetched_and_a_stop_does_not_wait_for_it() -> None:
    exporter, workers = FakeExporter(), FakeWorkers(WAITING)
    exporter.go_on.clear()
    export = exporting(workers, exporter)
    running = asyncio.ensure_future(export.run())
    await until(exporter.began.is_set)
    for _ in range(100):
        await asyncio.sleep(0)
    assert workers.asked == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await export.close()
    assert exporter.is_closed
    exporter.go_on.set()


async def test_a_stop_exports_the_last_traces() -> None:
    exporter = FakeExporter()
    await exporting(FakeWorkers(WAITING), exporter).close()
    assert len(exporter.exported) == 1
    assert exporter.is_closed

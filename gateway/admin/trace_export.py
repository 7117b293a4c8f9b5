"""The export of traces: fetched from the workers, kept for a while, and sent to the collector by a thread.

Workers wait for nothing: their ended spans wait in a bounded list. While an export takes its time nothing is fetched, so a
collector that is away or slow fills these lists, and later spans are dropped and counted there.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from gateway.admin.recent_traces import RecentTraces
from gateway.admin.workers import Workers
from gateway.metrics import Metric, Sample
from primitives.tracing.spans import SpanTuple
from primitives.tracing.tracer import EndedTrace

_log = logging.getLogger("peakgate")

EXPORT_EVERY_S: Final = 1.0
# Spans of each worker in one round.
MAX_SPANS: Final = 2_000
# How long a stop waits for the last export.
LAST_EXPORT_S: Final = 1.0


class Exporter(Protocol):
    """Sends traces somewhere; both calls are made by a thread."""

    def export(self, traces: Sequence[EndedTrace]) -> bool:
        """Send the traces and wait for the response; whether they were accepted."""
        ...

    def close(self) -> None:
        """End an attempt that waits."""
        ...


class TraceExport:
    """Fetches the traces of all workers and exports them. `run` does so until it is cancelled.

    `left` takes the traces that ended workers have left, as JSON. `exported` and `failed` count spans.
    """

    def __init__(
        self,
        workers: Workers,
        exporter: Exporter,
        recent: RecentTraces,
        *,
        left: Callable[[], Sequence[bytes]] = tuple,
        every_s: float = EXPORT_EVERY_S,
    ) -> None:
        self.exported = 0
        self.failed = 0
        self._workers = workers
        self._exporter = exporter
        self._recent = recent
        self._left = left
        self._every_s = every_s
        self._is_away = False

    async def run(self) -> None:
        """Export round after round."""
        while True:
            await self.export_once()
            await asyncio.sleep(self._every_s)

    async def export_once(self) -> None:
        """Fetch the traces that wait in the workers and export them; waits for the collector."""
        traces = await self._fetch()
        self._recent.add(traces)
        if not traces:
            return
        spans = sum(len(trace[2]) for trace in traces)
        try:
            is_exported = await self._export(traces)
        except Exception as error:  # noqa: BLE001 - any error of the exporter
            _log.debug("an export of traces failed: %r", error)
            is_exported = False
        self._count(spans, is_exported=is_exported)

    async def _fetch(self) -> list[EndedTrace]:
        replies = await self._workers.call_all("traces", max_spans=MAX_SPANS)
        traces: list[EndedTrace] = []
        for reply in replies.values():
            if not isinstance(reply, Exception):
                traces += msgspec.convert(reply, list[tuple[str, str, list[SpanTuple]]])
        try:
            for left in self._left():
                traces += msgspec.json.decode(left, type=list[tuple[str, str, list[SpanTuple]]])
        except OSError as error:
            _log.debug("the traces of ended workers cannot be read: %s", error)
        return traces

    async def _export(self, traces: Sequence[EndedTrace]) -> bool:
        """Export in a thread that nobody waits for at the end: a collector may hold it for ever."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def export() -> None:
            outcome: bool | Exception
            try:
                outcome = self._exporter.export(traces)
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                outcome = error
            try:
                loop.call_soon_threadsafe(_resolve, done, outcome)
            except RuntimeError:
                _log.debug("an export of traces ended after the process")

        threading.Thread(target=export, name="trace export", daemon=True).start()
        return await done

    def _count(self, spans: int, *, is_exported: bool) -> None:
        if is_exported:
            self.exported += spans
        else:
            self.failed += spans
        if is_exported == self._is_away:
            self._is_away = not is_exported
            if self._is_away:
                _log.warning("the collector of traces does not accept them; those of this time are lost")
            else:
                _log.warning("the collector of traces accepts them again")

    async def close(self) -> None:
        """Export the traces that wait in the workers, if that is quick; then give up the export in progress."""
        try:
            async with asyncio.timeout(LAST_EXPORT_S):
                await self.export_once()
        except TimeoutError:
            _log.debug("the last traces were not exported in time")
        self._exporter.close()

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {"exported": self.exported, "failed": self.failed}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_trace_exports_total",
            "Spans that the collector has accepted, and those that were lost because it did not.",
            "counter",
            [Sample({"outcome": outcome}, count) for outcome, count in self.snapshot().items()],
        )


def _resolve(done: asyncio.Future[bool], outcome: bool | Exception) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)

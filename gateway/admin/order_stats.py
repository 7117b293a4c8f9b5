"""The order worker of a process as operators see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from checkout.attention import AttentionWatch
from checkout.processor import OrderProcessor
from checkout.worker import OrderWorker
from gateway.admin.step_times import StepTimes
from gateway.metrics import Metric, Sample


class OrderStats:
    """Snapshot and metrics of the worker, its runs of orders, and the orders that need attention."""

    def __init__(self, worker: OrderWorker, processor: OrderProcessor, watch: AttentionWatch, steps: StepTimes) -> None:
        self._worker = worker
        self._processor = processor
        self._watch = watch
        self._steps = steps
        self.check = watch.check

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {
            "in_progress": self._worker.in_progress,
            "runs": self._runs(),
            "deliveries": self._deliveries(),
            "dead_lettered": self._worker.dead_lettered,
            "needing_attention": self._watch.orders,
            "dead_letters": self._watch.dead_letters,
            "steps": self._steps.snapshot(),
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_order_runs_total",
            "Runs of orders by their end: ended, failed, deferred, set_aside.",
            "counter",
            [Sample({"end": end}, float(count)) for end, count in self._runs().items()],
        )
        yield _metric(
            "peakgate_orders_dead_lettered_total",
            "Messages that this worker has dead-lettered.",
            self._worker.dead_lettered,
            is_counter=True,
        )
        yield Metric(
            "peakgate_order_deliveries_total",
            "Deliveries of the order queue by their end: done, failed by their order, deferred for something else, dead.",
            "counter",
            [Sample({"end": end}, float(count)) for end, count in self._deliveries().items()],
        )
        yield _metric("peakgate_orders_in_progress", "Orders that this worker works on.", self._worker.in_progress)
        yield _metric(
            "peakgate_orders_needing_attention",
            "Orders that wait for a person, of the whole shop; the same in all workers.",
            self._watch.orders,
        )
        yield _metric(
            "peakgate_dead_letters",
            "Dead letters of the order queue; the same in all workers.",
            self._watch.dead_letters,
        )
        yield from self._steps.metrics()

    def _deliveries(self) -> dict[str, int]:
        failed = self._processor.counts.failed
        return {
            "done": self._worker.processed,
            "failed": failed,
            "deferred": max(0, self._worker.released - failed),
            "dead": self._worker.dead_lettered,
        }

    def _runs(self) -> dict[str, int]:
        counts = self._processor.counts
        return {
            "ended": counts.ended,
            "failed": counts.failed,
            "deferred": counts.deferred,
            "set_aside": counts.set_aside,
        }


def _metric(name: str, text: str, value: int, *, is_counter: bool = False) -> Metric:
    return Metric(name, text, "counter" if is_counter else "gauge", [Sample({}, float(value))])

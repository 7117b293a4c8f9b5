"""Metrics for Amazon CloudWatch as lines of its embedded metric format: CloudWatch Logs makes metrics of them by itself.

A line each minute, of the whole gateway. docs/observability.md has the names; the format is that of the "Embedded metric
format specification" of CloudWatch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

import orjson

from gateway.admin.reading import Labels, Reading, carts_made
from gateway.admin.status import Status

NAMESPACE: Final = "Peakgate"
STEP_S: Final = 60.0
# CloudWatch takes a hundred metrics in a document; money has one for each currency.
MAX_METRICS: Final = 100
Value = tuple[str, str, float]
_ORDERS: Final = {"accepted": "OrdersAccepted", "completed": "OrdersCompleted", "cancelled": "OrdersCancelled"}
_LEVELS: Final = (
    ("QueueMessages", "Count", "peakgate_queue_messages"),
    ("QueueOldestMessage", "Seconds", "peakgate_queue_oldest_seconds"),
    ("OutboxMessages", "Count", "peakgate_outbox_messages"),
    ("OutboxOldestMessage", "Seconds", "peakgate_outbox_oldest_seconds"),
    ("OrdersNeedingAttention", "Count", "peakgate_orders_needing_attention"),
    ("DeadLetters", "Count", "peakgate_dead_letters"),
    ("SheddingPressure", "None", "peakgate_shedding_pressure"),
)


class EmfLines:
    """Writes the lines. `role` is the dimension: CloudWatch adds up the tasks of a role."""

    def __init__(
        self,
        status: Status,
        role: str,
        write: Callable[[bytes], object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._status = status
        self._role = role
        self._write = write
        self._clock = clock
        self._reading: Reading | None = None

    async def run(self) -> None:
        """Write for as long as the process runs."""
        while True:
            await self.look()
            await asyncio.sleep(STEP_S)

    async def look(self) -> None:
        """Take a reading, and write the line of the time since the one before. The first look has none."""
        gathered = await self._status.gather()
        metrics = {view.child.name: view.metrics for view in gathered.workers}
        before, self._reading = self._reading, Reading(self._clock(), metrics, self._reading)
        if before is not None:
            self._write(line(self._reading, self._role, gathered.at, workers=len(gathered.workers)) + b"\n")
        self._reading.forget_before()


def line(reading: Reading, role: str, at: float, *, workers: int) -> bytes:
    """The document of a reading and the one before it; `at` in Unix seconds."""
    found = list(_values(reading, workers))[:MAX_METRICS]
    return orjson.dumps(
        {
            "_aws": {
                "Timestamp": int(at * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        "Dimensions": [["Role"]],
                        "Metrics": [{"Name": name, "Unit": unit} for name, unit, _ in found],
                    }
                ],
            },
            "Role": role,
            **{name: round(value, 6) for name, _, value in found},
        }
    )


def _values(reading: Reading, workers: int) -> Iterator[Value]:
    # Their sum is the number of tasks of a role, so that backlog per task is QueueMessages / Tasks of the workers.
    yield "Tasks", "Count", 1.0
    yield from _requests(reading)
    yield from _processes(reading, workers)
    for name, unit, metric in _LEVELS:
        yield from ((name, unit, value) for value in reading.level(metric).values())
    yield from _orders(reading)


def _requests(reading: Reading) -> Iterator[Value]:
    seconds = reading.seconds
    for rate in reading.rate("peakgate_requests_total").values():
        yield "Requests", "Count", rate * seconds
        yield "RequestsPerSecond", "Count/Second", rate
    yield "ServerErrors", "Count", seconds * sum(reading.rate("peakgate_requests_total", where=_failed).values())
    yield "ShedRequests", "Count", seconds * sum(reading.rate("peakgate_shed_requests_total").values())
    for share, time_s in reading.quantiles("peakgate_request_seconds", (0.5, 0.99)).items():
        yield f"LatencyP{share * 100:.0f}", "Milliseconds", time_s * 1000


def _processes(reading: Reading, workers: int) -> Iterator[Value]:
    for used in reading.rate("peakgate_cpu_seconds_total").values():
        yield "CpuUtilization", "Percent", 100 * used / max(1, workers)
    for lag in reading.level("peakgate_loop_lag_seconds").values():
        yield "LoopLag", "Milliseconds", lag * 1000


def _orders(reading: Reading) -> Iterator[Value]:
    seconds = reading.seconds
    changes = reading.rate("peakgate_order_changes_total", by="status")
    for status, name in _ORDERS.items():
        yield name, "Count", seconds * changes.get(status, 0.0)
    reasons = reading.rate(
        "peakgate_order_changes_total", by="reason", where=lambda labels: labels["status"] == "cancelled"
    )
    for reason, rate in reasons.items():
        yield f"OrdersCancelled{_camel(reason)}", "Count", seconds * rate
    yield "CartsMade", "Count", seconds * carts_made(reading)
    yield "Checkouts", "Count", seconds * sum(reading.rate("peakgate_checkouts_total").values())
    taken = reading.rate(
        "peakgate_order_money_total", by="currency", where=lambda labels: labels["became"] == "accepted"
    )
    for currency, rate in taken.items():
        yield f"MoneyAccepted{currency}", "None", seconds * rate


def _failed(labels: Labels) -> bool:
    return labels["status"].startswith("5")


def _camel(reason: str) -> str:
    return "".join(word.capitalize() for word in reason.split("_"))

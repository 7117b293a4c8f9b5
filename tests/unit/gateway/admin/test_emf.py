"""The lines for CloudWatch are documents of its embedded metric format, with the values of the time since the last."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest

from gateway.admin.emf import MAX_METRICS, EmfLines, line
from gateway.admin.reading import Reading
from gateway.admin.reloader import Reloader
from gateway.admin.status import Status
from gateway.admin.workers import Workers
from gateway.control.runtime_directory import RuntimeDirectory
from gateway.metrics import Metric, Sample
from tests.unit.gateway.admin.small_workers import Fleet

UNITS = {"Count", "Count/Second", "Seconds", "Milliseconds", "Percent", "None"}


def metric(name: str, kind: Literal["counter", "gauge", "histogram"], *samples: tuple[dict[str, str], float]) -> Metric:
    return Metric(name, "", kind, [Sample(labels, value) for labels, value in samples])


def at_work(done: float) -> list[Metric]:
    """The metrics of a worker that has done so much of everything."""
    cart = {"method": "POST", "route": "/v1/carts", "status": "201"}
    failed = {"method": "POST", "route": "/v1/checkout", "status": "503"}
    return [
        metric("peakgate_requests_total", "counter", (cart, 3 * done), (failed, done)),
        metric("peakgate_request_seconds", "histogram", ({"le": "0.001"}, 4 * done), ({"le": "+Inf"}, 4 * done)),
        metric("peakgate_cpu_seconds_total", "counter", ({}, done / 10)),
        metric("peakgate_loop_lag_seconds", "gauge", ({}, 0.002)),
        metric("peakgate_queue_messages", "gauge", ({}, 700.0)),
        metric(
            "peakgate_order_changes_total",
            "counter",
            ({"status": "accepted", "reason": ""}, done),
            ({"status": "cancelled", "reason": "payment_declined"}, done / 2),
        ),
        metric("peakgate_order_money_total", "counter", ({"became": "accepted", "currency": "GBP"}, 10 * done)),
    ]


def written(before: dict[str, list[Metric]], after: dict[str, list[Metric]]) -> dict[str, Any]:
    reading = Reading(60.0, after, Reading(0.0, before))
    return dict(orjson.loads(line(reading, "edge", 1_795_000_000.5, workers=len(after))))


@pytest.fixture
def told() -> dict[str, Any]:
    return written({"0a": at_work(0), "1a": at_work(0)}, {"0a": at_work(60), "1a": at_work(60)})


def test_every_metric_has_a_unit_of_cloudwatch_and_a_value(told: dict[str, Any]) -> None:
    (directive,) = told["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("Peakgate", [["Role"]])
    assert told["_aws"]["Timestamp"] == 1_795_000_000_500
    assert told["Role"] == "edge"
    assert {each["Unit"] for each in directive["Metrics"]} <= UNITS
    names = [each["Name"] for each in directive["Metrics"]]
    assert len(names) == len(set(names)) <= MAX_METRICS
    assert {name: type(told[name]) for name in names if not isinstance(told[name], int | float)} == {}


def test_counts_are_those_of_the_minute_over_all_workers(told: dict[str, Any]) -> None:
    assert told["Requests"] == 480
    assert told["RequestsPerSecond"] == 8
    assert told["ServerErrors"] == 120
    assert told["CartsMade"] == 360
    assert told["OrdersAccepted"] == 120
    assert told["OrdersCancelledPaymentDeclined"] == 60
    assert told["MoneyAcceptedGBP"] == 1200


def test_the_signals_for_scaling_are_there(told: dict[str, Any]) -> None:
    assert told["Tasks"] == 1
    assert told["QueueMessages"] == 700
    assert told["CpuUtilization"] == pytest.approx(10.0)
    assert told["LoopLag"] == 2.0


def test_a_quiet_minute_has_zeros_and_no_latency() -> None:
    told = written({"0a": at_work(5)}, {"0a": at_work(5)})
    assert told["Requests"] == 0
    assert "LatencyP99" not in told


def test_a_line_with_many_currencies_is_one_that_cloudwatch_takes() -> None:
    samples = [({"became": "accepted", "currency": f"X{number:02}"}, 1.0) for number in range(200)]
    told = written({"0a": []}, {"0a": [metric("peakgate_order_money_total", "counter", *samples)]})
    assert len(told["_aws"]["CloudWatchMetrics"][0]["Metrics"]) == MAX_METRICS


async def test_the_first_look_writes_nothing_and_the_next_ones_a_line_each(
    file: Path, workers: Workers, runtime: RuntimeDirectory, fleet: Fleet
) -> None:
    await fleet.start("0a")
    status = Status(workers, runtime, Reloader(file, workers, runtime, started_with={}), version="1.2.3")
    written: list[bytes] = []
    minutes = count(0.0, 60.0)
    lines = EmfLines(status, "worker", written.append, clock=lambda: next(minutes))
    for _ in range(3):
        status.forget()
        await lines.look()
    assert [each.count(b"\n") for each in written] == [1, 1]
    assert orjson.loads(written[0])["Role"] == "worker"

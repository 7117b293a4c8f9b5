"""Two looks at the metrics become rates, levels and quantiles."""

from __future__ import annotations

from typing import Literal

import pytest

from gateway.admin.console.plots import PLOTS, values
from gateway.admin.reading import WORKER, Reading
from gateway.metrics import Metric, Sample


def metric(name: str, kind: Literal["counter", "gauge", "histogram"], *samples: tuple[dict[str, str], float]) -> Metric:
    return Metric(name, "", kind, [Sample(labels, value) for labels, value in samples])


def requests(*statuses: tuple[str, float]) -> Metric:
    return metric("peakgate_requests_total", "counter", *(({"status": status}, count) for status, count in statuses))


def times(*buckets: tuple[str, float]) -> Metric:
    return metric("peakgate_request_seconds", "histogram", *(({"le": le}, count) for le, count in buckets))


def test_the_first_look_has_no_rates() -> None:
    reading = Reading(0.0, {"0a": [requests(("200", 50.0)), times(("0.1", 5.0), ("+Inf", 5.0))]})
    assert reading.rate("peakgate_requests_total") == {}
    assert reading.quantiles("peakgate_request_seconds", [0.5]) == {}


def test_rates_are_growth_by_time_over_all_workers() -> None:
    before = Reading(0.0, {"0a": [requests(("200", 50.0))], "1a": [requests(("200", 10.0), ("503", 0.0))]})
    reading = Reading(5.0, {"0a": [requests(("200", 100.0))], "1a": [requests(("200", 20.0), ("503", 5.0))]}, before)
    assert reading.rate("peakgate_requests_total") == {"": 13.0}
    assert reading.rate("peakgate_requests_total", by="status") == {"200": 12.0, "503": 1.0}
    assert reading.rate("peakgate_requests_total", by=WORKER) == {"0a": 10.0, "1a": 3.0}
    assert reading.rate("peakgate_requests_total", where=lambda labels: labels["status"] == "503") == {"": 1.0}


def test_a_worker_that_was_replaced_counts_from_nothing() -> None:
    before = Reading(0.0, {"0a": [requests(("200", 1000.0))]})
    assert Reading(5.0, {"0b": [requests(("200", 10.0))]}, before).rate("peakgate_requests_total") == {"": 2.0}
    assert Reading(5.0, {"0a": [requests(("200", 10.0))]}, before).rate("peakgate_requests_total") == {"": 2.0}


def test_a_worker_that_was_silent_for_a_while_has_not_done_all_at_once() -> None:
    first = Reading(0.0, {"0a": [requests(("200", 1000.0))], "1a": [requests(("200", 50.0))]})
    second = Reading(5.0, {"0a": [], "1a": [requests(("200", 60.0))]}, first)
    third = Reading(10.0, {"0a": [], "1a": [requests(("200", 70.0))]}, second)
    back = Reading(15.0, {"0a": [requests(("200", 1030.0))], "1a": [requests(("200", 80.0))]}, third)
    assert second.rate("peakgate_requests_total", by=WORKER) == {"1a": 2.0}
    assert back.rate("peakgate_requests_total", by=WORKER) == {"0a": 2.0, "1a": 2.0}


def test_levels_are_combined_over_workers() -> None:
    lag = "peakgate_loop_lag_seconds"
    reading = Reading(0.0, {"0a": [metric(lag, "gauge", ({}, 0.01))], "1a": [metric(lag, "gauge", ({}, 0.5))]})
    assert reading.level(lag) == {"": 0.5}
    assert reading.level(lag, combine=sum) == {"": 0.51}
    assert reading.level(lag, by=WORKER) == {"0a": 0.01, "1a": 0.5}
    assert reading.level("peakgate_nothing") == {}


def test_quantiles_are_those_of_the_time_between_the_looks() -> None:
    # 1,000 fast ones before; then 50 below 10 ms, 40 below 100 ms, 10 above.
    before = Reading(0.0, {"0a": [times(("0.01", 1000.0), ("0.1", 1000.0), ("+Inf", 1000.0))]})
    reading = Reading(5.0, {"0a": [times(("0.01", 1050.0), ("0.1", 1090.0), ("+Inf", 1100.0))]}, before)
    found = reading.quantiles("peakgate_request_seconds", [0.25, 0.5, 0.7, 0.99])
    assert found == pytest.approx({0.25: 0.005, 0.5: 0.01, 0.7: 0.055, 0.99: 0.1})


def test_every_plot_reads_a_gateway_without_traffic() -> None:
    assert values(Reading(0.0, {})) == {
        f"funnel/{step}": 0.0 for step in ("carts", "checkouts", "accepted", "paid", "completed")
    }


def test_the_stock_of_rooms_and_the_number_of_low_products_are_shown() -> None:
    stock = metric("peakgate_room_stock", "gauge", ({"room": "drop"}, 40.0))
    shown = values(Reading(0.0, {"0a": [stock, metric("peakgate_low_stock_skus", "gauge", ({}, 3.0))], "1a": [stock]}))
    assert shown["stock/room drop"] == 40.0
    assert shown["stock/SKUs with few units"] == 3.0


def test_every_plot_explains_itself() -> None:
    for plot in PLOTS:
        assert plot.meaning.endswith("."), plot.name
        assert len(plot.meaning.split()) > 5, plot.name
        assert "/" not in plot.name
    assert len({plot.name for plot in PLOTS}) == len(PLOTS)

"""The small version of `make bench-payments`."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from benchmarks.scenarios.payments import MAX_LOOK_UPS, Outcome, results_of, simulate
from checkout.payments.order_payments import OrderPayments

ORDERS = 600


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("adapter", ["http", "stripe"])
def test_nothing_is_charged_twice_and_all_that_is_cancelled_comes_back(adapter: str) -> None:
    outcome = simulate(adapter, orders=ORDERS, seed=7)

    assert outcome.orders == ORDERS
    assert (outcome.charged_twice, outcome.not_charged, outcome.not_returned, outcome.double_holds) == (0, 0, 0, 0)
    assert (outcome.unended, outcome.set_aside, outcome.stock_missing) == (0, 0, 0)
    assert 0 < outcome.most_look_ups <= MAX_LOOK_UPS
    assert outcome.unknown > 50
    assert outcome.kills > 5
    assert outcome.completed > 0.8 * ORDERS


def test_without_look_ups_the_same_orders_are_reserved_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: Any) -> bool:
        return False

    monkeypatch.setattr(OrderPayments, "_may_have_run", never)

    outcome = simulate("http", orders=3 * ORDERS, seed=7)

    assert outcome.double_holds + outcome.not_returned > 0


def test_a_run_is_the_same_each_time() -> None:
    assert simulate("http", orders=100, seed=3) == simulate("http", orders=100, seed=3)


def test_the_report_names_each_fault() -> None:
    outcome = Outcome(**dict.fromkeys((each.name for each in dataclasses.fields(Outcome)), 0))
    assert all(result.met for result in results_of("http", outcome) if result.target is not None)
    for name in (
        "charged_twice",
        "not_charged",
        "not_returned",
        "double_holds",
        "unended",
        "stock_missing",
        "set_aside",
    ):
        broken = dataclasses.replace(outcome, **{name: 1})
        assert [result.met for result in results_of("http", broken)].count(False) == 1

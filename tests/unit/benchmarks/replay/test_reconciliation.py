from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from benchmarks.replay.catalogue import ShopCatalogue
from benchmarks.replay.reconciliation import Expectation, Reconciliation, StockCheck
from benchmarks.replay.retail import Basket, BasketLine
from benchmarks.replay.shopper import Purchase

BOUGHT = Purchase("536365", 2, 5, 1275, order_id="o1", state="completed", accepted=1275, units_ordered=5)
OTHER = Purchase("536366", 1, 1, 339, order_id="o2", state="completed", accepted=339, units_ordered=1)


def reconciled(*purchases: Purchase) -> Reconciliation:
    reconciliation = Reconciliation(Expectation(baskets=2, lines=3, units=6, money=1614))
    for purchase in purchases:
        reconciliation.record(purchase)
    return reconciliation


def test_the_expectation_is_the_baskets_at_catalogue_prices() -> None:
    lines = [
        BasketLine("A", "", 2, Decimal("9.99")),
        BasketLine("B", "", 1, Decimal(1)),
        BasketLine("A", "", 3, Decimal(1)),
    ]
    basket = Basket("1", datetime.fromisoformat("2010-12-01T08:26"), tuple(lines))

    assert Expectation.of([basket], ShopCatalogue("GBP", {"A": 255, "B": 7}, {})) == Expectation(1, 3, 6, 5 * 255 + 7)


def test_a_reconciliation_without_differences_has_no_faults() -> None:
    reconciliation = reconciled(BOUGHT, OTHER)

    assert reconciliation.faults(StockCheck.compare({"A": 5, "B": 1}, {"A": 0, "B": 0})) == []
    assert (reconciliation.orders, reconciliation.lines, reconciliation.units, reconciliation.money) == (2, 3, 6, 1614)
    assert reconciliation.orders_by_state == {"completed": 2}


@pytest.mark.parametrize("state", ["shipped", "delivered", "returned"])
def test_an_order_whose_shipment_is_under_way_was_bought(state: str) -> None:
    assert reconciled(BOUGHT, replace(OTHER, state=state)).faults() == []


@pytest.mark.parametrize(
    ("second", "faults"),
    [
        (None, ["baskets bought: 1 instead of 2", "units: 5 instead of 6", "money: 1,275 instead of 1,614"]),
        (replace(OTHER, state="cancelled"), ["baskets bought: 1 instead of 2"]),
        (replace(OTHER, accepted=338), ["money: 1,613 instead of 1,614"]),
        (replace(OTHER, units_ordered=2), ["units: 7 instead of 6"]),
        (replace(OTHER, order_id="o1"), ["order o1 is the order of 2 baskets"]),
        (replace(OTHER, fault="it rained"), ["invoice 536366: it rained"]),
    ],
)
def test_each_difference_is_a_fault(second: Purchase | None, faults: list[str]) -> None:
    assert reconciled(BOUGHT, *([second] if second else [])).faults() == faults


def test_stock_must_fall_by_the_units_of_the_orders() -> None:
    stock = StockCheck.compare({"A": 5, "B": 1}, {"A": 0, "B": -1})

    assert reconciled(BOUGHT, OTHER).faults(stock) == [
        "stock of B is below zero",
        "stock fell by 7 units, the orders have 6 (does someone else buy here too?)",
    ]


def test_a_cancelled_order_gives_its_stock_back() -> None:
    stock = StockCheck.compare({"A": 5, "B": 1}, {"A": 0, "B": 1})

    faults = reconciled(BOUGHT, replace(OTHER, state="cancelled")).faults(stock)

    assert faults == ["baskets bought: 1 instead of 2"]


def test_a_shop_that_hides_its_stock_is_not_compared() -> None:
    assert StockCheck.compare({}, {}) is None

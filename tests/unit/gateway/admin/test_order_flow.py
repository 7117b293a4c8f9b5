"""Metrics of orders: by status and reason, money by currency, and what waits in the shop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cart.ids import new_cart_id, order_id_for
from checkout.fact_intake import FactIntake
from checkout.facts import ShipmentFact
from checkout.memory.order_listing import MemoryOrderListing
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.shop_counts import ShopCounts
from checkout.sold_out import SoldOut
from gateway.admin.checkout_stats import CheckoutStats, ReportStats
from gateway.admin.order_flow import OrderFlow, ShopStats
from gateway.metrics import Metric
from tests.unit.checkout.fake_services import FakeServices, MemoryQueue, an_order, message_of
from tests.virtual_time import in_virtual_time

MOVES = list(OrderStatus)[1:5]


def values(metrics: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    return {(metric.name, *sample.labels.values()): sample.value for metric in metrics for sample in metric.samples}


def completed(flow: OrderFlow, order: Order) -> Order:
    flow.accepted(order)
    for status in MOVES:
        moved = order.moved(status, at=order.updated_at)
        flow.changed(order, moved)
        order = moved
    return order


def test_orders_are_counted_by_status_and_reason_and_money_by_currency() -> None:
    flow = OrderFlow()
    done = completed(flow, an_order())
    flow.changed(done, done.noted(at=done.updated_at, refunded=495))
    other = an_order()
    flow.accepted(other)
    flow.changed(other, other.moved(OrderStatus.CANCELLED, at=0, reason=CancelReason.OUT_OF_STOCK))

    counted = values(flow.metrics())

    assert counted["peakgate_order_changes_total", "accepted", ""] == 2
    assert counted["peakgate_order_changes_total", "completed", ""] == 1
    assert counted["peakgate_order_changes_total", "cancelled", "out_of_stock"] == 1
    assert counted["peakgate_order_money_total", "accepted", "GBP"] == 20.1
    assert counted["peakgate_order_money_total", "completed", "GBP"] == 10.05
    assert counted["peakgate_order_money_total", "cancelled", "GBP"] == 10.05
    assert counted["peakgate_order_money_total", "refunded", "GBP"] == 4.95
    assert flow.snapshot()["orders"]["cancelled (out_of_stock)"] == 1


def test_the_time_from_accepted_to_completed_is_counted() -> None:
    flow, order = OrderFlow(), an_order()
    for status in MOVES:
        moved = order.moved(status, at=order.created_at + 4_000)
        flow.changed(order, moved)
        order = moved

    counted = values(flow.metrics())

    assert counted["peakgate_order_completion_seconds", "2.5"] == 0
    assert counted["peakgate_order_completion_seconds", "5"] == 1
    assert counted["peakgate_order_completion_seconds", "+Inf"] == 1
    assert counted["peakgate_order_completion_seconds", ""] == 4.0


def shop_counts(services: FakeServices, queue: Any, *, may_count: bool = True) -> ShopCounts:
    async def answer() -> bool:
        return may_count

    return ShopCounts(MemoryOrderListing(services.orders), services.orders, queue, services.orders, may_count=answer)


@in_virtual_time
async def test_what_waits_in_the_shop_is_counted_by_one_worker() -> None:
    services, queue = FakeServices(), MemoryQueue()
    waiting, done = await services.accept(), await services.accept()
    await services.processor().process(done.id)
    services.orders.post(waiting.id, b"{}")
    await queue.send([message_of(waiting)])
    counts, other = shop_counts(services, queue), shop_counts(services, queue, may_count=False)
    await counts.count()
    await other.count()

    counted = values(ShopStats(counts).metrics())
    assert counted["peakgate_orders", "accepted"] == 1
    assert counted["peakgate_orders", "completed"] == 1
    assert counted["peakgate_orders", "returned"] == 0
    assert counted["peakgate_outbox_messages",] == 1
    assert counted["peakgate_outbox_oldest_seconds",] >= 0
    assert counted["peakgate_queue_messages",] == 1
    assert counted["peakgate_stock_claims",] == 0
    assert ShopStats(counts).snapshot()["by_status"]["accepted"] == 1
    assert list(ShopStats(other).metrics()) == []
    assert ShopStats(other).snapshot() == {}


@in_virtual_time
async def test_a_queue_that_is_away_hides_no_other_count() -> None:
    from checkout.errors import ServiceUnavailable

    class Away:
        async def count_messages(self) -> int | None:
            raise ServiceUnavailable("gone")

    services = FakeServices()
    await services.accept()
    counts = shop_counts(services, Away())
    await counts.count()
    names = {metric.name for metric in ShopStats(counts).metrics()}
    assert "peakgate_queue_messages" not in names
    assert {"peakgate_orders", "peakgate_outbox_messages"} <= names


def test_checkouts_are_counted_by_result() -> None:
    class Checkout:
        placed = {"accepted": 3, "replayed": 1, "OutOfStock": 2}  # noqa: RUF012
        sold_out = SoldOut()

    Checkout.sold_out.refused = 4

    checkout: Any = Checkout()
    assert values(CheckoutStats(checkout).metrics()) == {
        ("peakgate_checkouts_total", "out-of-stock"): 2,
        ("peakgate_checkouts_total", "accepted"): 3,
        ("peakgate_checkouts_total", "replayed"): 1,
        ("peakgate_sold_out_refusals_total",): 4,
    }


async def test_webhooks_about_unknown_orders_are_counted_by_service() -> None:
    intake = FactIntake(FakeServices().orders, message=order_accepted, dispatch=lambda _entry: None)
    fact = ShipmentFact("carrier:1", 1, "shipped")
    for order_id in ("no id", order_id_for(new_cart_id(), 1)):
        await intake.append_of_webhook(order_id, fact, sender="shipping")
    await intake.append_of_webhook("no id", fact, sender="payment")

    assert values(ReportStats(intake).metrics()) == {
        ("peakgate_reports_of_unknown_orders_total", "payment"): 1,
        ("peakgate_reports_of_unknown_orders_total", "shipping"): 2,
    }

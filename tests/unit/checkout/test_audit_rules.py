"""Cases of audit rules that no planted fault shows."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from checkout.audit.finding import DEFAULT_BOUNDS
from checkout.audit.rules import ORDER_RULES
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.payment import Payment
from checkout.ports.books import Entry
from tests.unit.checkout.fake_services import an_order


def completed(order: Order) -> Order:
    for status in list(OrderStatus)[1:5]:
        order = order.moved(status, at=order.updated_at)
    return msgspec.structs.replace(order, workflow=1)


def finished(order: Order) -> Entry:
    return Entry(id=order.id, now_ms=0, order=order, status=order.status, listed=(order.status,), is_finished=True)


def rules_broken_by(entry: Entry) -> Sequence[str]:
    return [found.rule for rule in ORDER_RULES for found in rule(entry, DEFAULT_BOUNDS)]


def test_an_order_without_a_price_needs_no_payment() -> None:
    priced = completed(an_order())
    free = msgspec.structs.replace(completed(an_order(unit_price=0)), shipping=0)

    assert rules_broken_by(finished(priced)) == ["payment"]
    assert rules_broken_by(finished(free)) == []


def test_a_cancelled_order_that_is_finished_keeps_no_money() -> None:
    order = an_order()
    order = order.moved(OrderStatus.CANCELLED, at=order.updated_at, reason=CancelReason.REQUESTED)
    held, voided = (
        msgspec.structs.replace(order, payment=Payment(reference="p", authorised=order.total, voided=is_voided))
        for is_voided in (False, True)
    )

    assert rules_broken_by(finished(held)) == ["payment"]
    assert rules_broken_by(finished(voided)) == []
    undoing = msgspec.structs.replace(finished(held), seen_ms=0)
    assert rules_broken_by(undoing) == []


@pytest.mark.parametrize("workflow", [0, 1])
def test_orders_from_before_there_were_lists_may_be_in_none(workflow: int) -> None:
    order = msgspec.structs.replace(
        completed(an_order()), workflow=workflow, payment=Payment(reference="p", authorised=1005, captured=1005)
    )
    entry = msgspec.structs.replace(finished(order), listed=(), is_finished=False)

    assert rules_broken_by(entry) == (["listing", "flight"] if workflow else [])


def test_refunds_of_the_history_are_those_of_the_payment() -> None:
    order = completed(an_order())
    paid = Payment(reference="p", authorised=order.total, captured=order.total, refunded=100)
    once = msgspec.structs.replace(order, payment=paid).noted(at=order.updated_at, refunded=100)

    assert rules_broken_by(finished(once)) == []
    assert rules_broken_by(finished(once.noted(at=once.updated_at, refunded=1))) == ["money"]

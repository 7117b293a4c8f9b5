"""The bounds of the audit are longer than the work that they wait for."""

from __future__ import annotations

import pytest

from cart.model import OrderId, Sku
from checkout.audit.finding import DEFAULT_BOUNDS, GRACE_S, Bounds
from checkout.audit.rules.stock import stray_hold
from checkout.audit.rules.waiting import claim, outbox
from checkout.outbox import MIN_AGE_S, SUBMITTED_WITHIN_S
from checkout.ports.books import Hold, StockRecord, Waiting
from checkout.ports.orders import CLAIM_MS
from checkout.ports.stock import HOLD_MS
from checkout.sweeper import CLOSED_WITHIN_S


def test_each_waits_for_the_sweep_and_the_grace() -> None:
    assert DEFAULT_BOUNDS.claim_ms >= CLAIM_MS + HOLD_MS + GRACE_S * 1000
    assert DEFAULT_BOUNDS.claim_ms == (CLOSED_WITHIN_S + GRACE_S) * 1000
    assert DEFAULT_BOUNDS.hold_ms == DEFAULT_BOUNDS.claim_ms - HOLD_MS
    assert DEFAULT_BOUNDS.outbox_ms == (SUBMITTED_WITHIN_S + GRACE_S) * 1000
    assert SUBMITTED_WITHIN_S > MIN_AGE_S


@pytest.mark.parametrize("rule", [claim, outbox])
def test_a_wait_is_named_beyond_its_bound(rule: object) -> None:
    bounds = Bounds(claim_ms=1000, outbox_ms=1000)
    assert callable(rule)
    assert [each.subject for each in rule([Waiting("in time", 1000), Waiting("late", 1001)], bounds)] == ["late"]


def test_a_hold_without_an_order_is_named_behind_its_expiry() -> None:
    late, in_time = OrderId("late"), OrderId("in time")
    strays = {late: Hold(1, 1000), in_time: Hold(1, 1001)}
    record = StockRecord(Sku("mug"), "1", 2, strays, [], now_ms=2001)
    assert [each.part for each in stray_hold(record, Bounds(hold_ms=1000))] == [late]

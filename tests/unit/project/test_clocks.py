"""Wall clocks of processes differ by minutes and step, so no age is measured with one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
WALL_CLOCK = re.compile(r"\btime\.time\b|\btime_ns\b|\bunix_ms\b|datetime\.(now|utcnow|today)\b")
# They write times that people read, and the adapters in memory, whose store is the process.
ALLOWED = {
    # Prices start and end at times that people write.
    "cart/catalog/handlers.py",
    "cart/catalog/imported_files.py",  # when a file was last in use
    "cart/catalog/memory.py",
    "cart/catalog/price_desk.py",
    "cart/catalog/redis_catalog.py",
    "cart/handlers.py",
    "cart/memory.py",
    "cart/timestamps.py",
    "checkout/agents/handlers.py",
    "checkout/archive/memory_archive.py",
    "checkout/archive/sqlite_archive.py",  # records are kept for years after their last change, a time that people read
    "checkout/attention.py",
    "checkout/audit/watch.py",  # when an audit ended
    "checkout/aws/json_client.py",  # AWS signatures have a time
    "checkout/privacy/erasure.py",
    "checkout/fact_handlers.py",
    "checkout/handlers.py",
    "checkout/memory/agent_sessions.py",
    "checkout/memory/in_flight.py",
    "checkout/memory/order_listing.py",
    "checkout/memory/orders.py",
    "checkout/memory/progress.py",
    "checkout/memory/records.py",
    "checkout/memory/stock.py",
    # An age that may be wrong: then a payment is looked up needlessly, or the service's idempotency key decides alone.
    "checkout/payments/order_payments.py",
    "checkout/payments/facts.py",
    "checkout/payments/sandbox.py",
    "checkout/payments/stripe_webhooks.py",  # as primitives/webhook_signature.py
    "checkout/refunds.py",
    "checkout/memory/cart_holds.py",
    "checkout/redis/cart_holds.py",  # a list of SKUs that may be looked at for longer than needed
    "checkout/redis/low_stock.py",  # the order of a list that is cut at its bound
    "checkout/shipping/desk.py",
    "checkout/shipping/facts.py",
    "checkout/shipping/webhooks.py",
    # As that of payments: a booking is looked up needlessly, or the service's idempotency key decides alone.
    "checkout/shipping/http_shipping.py",
    "checkout/workflow/step_tasks.py",
    "checkout/archive/restoration.py",  # orders are kept for days after their last change, a time that people read
    "checkout/workflow/runner.py",
    "primitives/tracing/tracer.py",  # when a trace began, a time that people read
    "primitives/webhook_signature.py",  # the time that a signature covers, which the specification compares
}


def test_carts_orders_and_the_store_measure_no_age_with_a_wall_clock() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("cart", "checkout", "store", "primitives")
        for path in (ROOT / package).rglob("*.py")
        if WALL_CLOCK.search(path.read_text(encoding="utf-8"))
    }
    assert found == ALLOWED

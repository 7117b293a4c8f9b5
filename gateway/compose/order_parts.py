"""The parts of a process that show operators its orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from checkout.redis.order_listing import RedisOrderListing
from checkout.shop_counts import ShopCounts
from gateway.admin.checkout_stats import CheckoutStats, ReportStats
from gateway.admin.order_flow import ShopStats
from gateway.compose.background import Background
from gateway.compose.orders import OrderBackends
from gateway.compose.outbox import open_outbox
from gateway.compose.shop import Shop
from gateway.metrics import Observed
from store import Lease, is_cluster

LEASE_KEY: Final = "orders:counter"
# Longer than the interval of the counts.
LEASE_MS: Final = 25_000


def start_order_parts(backends: OrderBackends, shop: Shop | None, background: Background) -> Mapping[str, Observed]:
    """Count the orders of the shop in the background, in one process at a time; returns the parts by their names."""
    counts = ShopCounts(
        RedisOrderListing(backends.client, is_cluster=is_cluster(backends.client)),
        open_outbox(backends.client),
        backends.queue,
        backends.orders,
        may_count=Lease(backends.client, LEASE_KEY, ttl_ms=LEASE_MS).acquire,
    )
    background.start("order counts", counts.run)
    parts: dict[str, Observed] = {"shop": ShopStats(counts), "order_flow": backends.flow}
    if shop is not None:
        parts |= {"checkouts": CheckoutStats(shop.checkout), "reports": ReportStats(shop.reports)}
    return parts

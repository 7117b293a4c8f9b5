"""The parts of a process that show operators its orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from checkout.audit.audit import Audit
from checkout.audit.finding import Bounds
from checkout.audit.watch import CLAIM_S, AuditWatch
from checkout.low_stock import LowStockWatch
from checkout.redis.books import RedisBooks
from checkout.redis.low_stock import RedisLowStockList
from checkout.redis.order_listing import RedisOrderListing
from checkout.shop_counts import ShopCounts
from gateway.admin.audit_stats import AuditStats
from gateway.admin.checkout_stats import CheckoutStats, ReportStats
from gateway.admin.low_stock_stats import LowStockStats
from gateway.admin.order_flow import ShopStats
from gateway.admin.trending_stats import TrendingStats
from gateway.compose.background import Background
from gateway.compose.orders import OrderBackends
from gateway.compose.outbox import open_outbox
from gateway.compose.shop import Shop
from gateway.metrics import Observed
from gateway.settings import Settings
from store import Lease, is_cluster

LEASE_KEY: Final = "orders:counter"
# Longer than the interval of the counts.
LEASE_MS: Final = 25_000
AUDIT_LEASE_KEY: Final = "orders:auditor"
LOW_STOCK_LEASE_KEY: Final = "low-stock:counter"


def start_order_parts(
    settings: Settings, backends: OrderBackends, shop: Shop | None, background: Background
) -> Mapping[str, Observed]:
    """Count and audit the orders of the shop in the background, in one process at a time; returns the parts by their names."""
    counts = ShopCounts(
        RedisOrderListing(backends.client, is_cluster=is_cluster(backends.client)),
        open_outbox(backends.client),
        backends.queue,
        backends.orders,
        may_count=Lease(backends.client, LEASE_KEY, ttl_ms=LEASE_MS).acquire,
    )
    background.start("order counts", counts.run)
    parts: dict[str, Observed] = {"shop": ShopStats(counts), "order_flow": backends.flow}
    if settings.audit_every:
        audit = _audit_watch(backends, settings)
        background.start("audit", audit.run)
        parts["audit"] = AuditStats(audit)
    if settings.low_stock:
        low_stock = _low_stock_watch(backends, settings.low_stock)
        background.start("low stock", low_stock.run)
        parts["low_stock"] = LowStockStats(low_stock)
    if shop is not None:
        parts |= {"checkouts": CheckoutStats(shop.checkout), "reports": ReportStats(shop.reports)}
        if shop.trending is not None:
            parts["trending"] = TrendingStats(shop.trending)
    return parts


def _low_stock_watch(backends: OrderBackends, mark: int) -> LowStockWatch:
    lease = Lease(backends.client, LOW_STOCK_LEASE_KEY, ttl_ms=LEASE_MS)
    return LowStockWatch(RedisLowStockList(backends.client), mark, may_count=lease.acquire)


def _audit_watch(backends: OrderBackends, settings: Settings) -> AuditWatch:
    # Kept over the interval, so that the next round is in the same process.
    lease = Lease(backends.client, AUDIT_LEASE_KEY, ttl_ms=round((settings.audit_every + 3 * CLAIM_S) * 1000))
    bounds = Bounds(order_ms=round(settings.audit_stuck_after * 1000))
    return AuditWatch(
        Audit(RedisBooks(backends.client), bounds=bounds, rate=settings.audit_rate),
        may_audit=lease.acquire,
        every_s=settings.audit_every,
        full_every_s=settings.audit_full_every,
    )

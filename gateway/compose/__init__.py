"""The composition root: opens, builds and closes everything a process needs, by plain constructor calls."""

from gateway.compose.archive import check_archive
from gateway.compose.catalog import open_catalog, sku_fault
from gateway.compose.edge import Gateway
from gateway.compose.orders import check_queue
from gateway.compose.payments import check_payments
from gateway.compose.privacy import check_keys
from gateway.compose.shipping import check_shipping
from gateway.compose.tracing import check_tracing
from gateway.compose.worker import gateway

__all__ = [
    "Gateway",
    "check_archive",
    "check_keys",
    "check_payments",
    "check_queue",
    "check_shipping",
    "check_tracing",
    "gateway",
    "open_catalog",
    "sku_fault",
]

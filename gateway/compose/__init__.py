"""The composition root: opens, builds and closes everything a process needs, by plain constructor calls."""

from gateway.compose.catalog import open_catalog
from gateway.compose.edge import Gateway
from gateway.compose.orders import check_queue
from gateway.compose.worker import gateway

__all__ = ["Gateway", "check_queue", "gateway", "open_catalog"]

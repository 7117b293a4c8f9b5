"""A worker process: its store, its orders and its edge."""

from __future__ import annotations

from contextlib import AsyncExitStack

from gateway.cache.host_memory import HostRegion
from gateway.compose.background import Background
from gateway.compose.edge import Gateway, open_edge
from gateway.compose.orders import open_order_backends, start_order_worker
from gateway.control.shared_outage import SharedOutage
from gateway.prerequisites import StoreAddress, open_store
from gateway.resilience.breakers import Breakers
from gateway.resilience.store_guard import StoreGuard
from gateway.resilience.store_watch import StoreWatch
from gateway.settings import Settings


async def gateway(
    settings: Settings,
    store: StoreAddress,
    stack: AsyncExitStack,
    *,
    worker_name: str,
    host_region: HostRegion | None = None,
    store_outage: SharedOutage | None = None,
) -> Gateway:
    """Build one worker process. `worker_name` differs from those of other workers, and is the same after a restart.

    `host_region` is the memory of the response cache, one for all workers; they share `store_outage` too,
    so that one line is logged for all.

    Everything opened is closed by `stack`, in reverse: orders in progress are finished before the store is closed.
    Raises `CannotStart`.
    """
    background = Background(stack)
    breakers = Breakers(settings.policies.breaker)
    client = await open_store(store.url, stack)
    background.start("store guard", StoreGuard(client, breakers.of("store")).watch)
    background.start("store watch", StoreWatch(client, store_outage or SharedOutage(None, worker_name)).run)
    backends = await open_order_backends(settings, store, client, breakers, stack, worker_name=worker_name)
    if settings.works_orders:
        start_order_worker(settings, backends, background)
    return await open_edge(
        settings, store, backends, stack, background, worker_name=worker_name, host_region=host_region
    )

"""A worker process: its store, its orders and its edge."""

from __future__ import annotations

from contextlib import AsyncExitStack

from gateway.cache.host_memory import HostRegion
from gateway.compose.archiving import start_archiving
from gateway.compose.background import Background
from gateway.compose.edge import Gateway, open_edge
from gateway.compose.erasure import open_eraser
from gateway.compose.orders import open_order_backends, start_order_worker
from gateway.compose.payments import open_payments
from gateway.compose.shipping import open_shipping
from gateway.compose.tracing import open_tracer
from gateway.control.shared_outage import SharedOutage
from gateway.prerequisites import StoreAddress, StoreRecheck, open_store
from gateway.resilience.breakers import Breakers
from gateway.resilience.cluster_guard import ClusterGuard
from gateway.resilience.known_store import KnownStore
from gateway.resilience.store_guard import StoreGuard
from gateway.resilience.store_history import StoreHistory
from gateway.resilience.store_watch import StoreWatch
from gateway.server.units import run_unit
from gateway.settings import Settings
from store import ClusterClient


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
    tracer = open_tracer(settings)
    breakers = Breakers(settings.policies.breaker)
    client = await open_store(store.url, stack, deadline_s=settings.store_timeout)
    guard: StoreGuard | ClusterGuard
    if isinstance(client, ClusterClient):
        guard = ClusterGuard(lambda: client.nodes, breakers)
    else:
        guard = StoreGuard(client, breakers.of("store"))
    background.start("store guard", guard.watch)
    away = store_outage or SharedOutage(None, worker_name)
    store_watch = StoreWatch(
        client,
        away=away,
        partly=away.of("part"),
        full=away.of("room"),
        servers=(lambda: client.nodes) if isinstance(client, ClusterClient) else None,
    )
    background.start("store watch", store_watch.run)
    history = StoreHistory(
        client,
        KnownStore(settings.data_dir, "embedded" if store.is_embedded else store.url),
        worker_name.rpartition(":")[0],
    )
    background.start("store history", history.run)
    recheck = StoreRecheck(client)
    if not settings.allow_eviction:
        background.start("store recheck", recheck.run)
    backends = await open_order_backends(settings, store, client, breakers, stack, worker_name=worker_name)
    background.start("keys", backends.privacy.watch)
    orders = archiving = None
    if settings.works_orders:
        background.start("erasures", open_eraser(backends).run)
        archiving = start_archiving(settings, backends, background, stack)
        orders = start_order_worker(
            settings,
            backends,
            background,
            worker_name=worker_name,
            payments=await open_payments(settings, stack),
            shipping=await open_shipping(settings, stack),
            tracer=tracer,
        )
    opened = await open_edge(
        settings,
        store,
        backends,
        stack,
        background,
        check_store=store_watch.check_writes,
        history=history,
        recheck=recheck,
        worker_name=worker_name,
        host_region=host_region,
        orders=orders,
        archiving=archiving,
        tracer=tracer,
    )
    edge = opened.edge

    def decide_units(is_gated: bool) -> None:
        edge.run_unit = run_unit if is_gated else None

    guard.on_gated(decide_units)
    return opened

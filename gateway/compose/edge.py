"""The edge of a worker process: the server, and the layers in front of its routes."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Final

from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.ids import parse_sku
from cart.model import Sku
from checkout.queue_receipts import QueueReceipts
from checkout.tariff.tariff import TariffInForce
from gateway.admin.archive_stats import ArchiveStats
from gateway.admin.background_stats import BackgroundStats
from gateway.admin.event_relay_stats import EventRelayStats
from gateway.admin.order_stats import OrderStats
from gateway.admin.price_commands import PriceCommands
from gateway.admin.privacy_commands import PrivacyCommands
from gateway.admin.stalled_order_stats import StalledOrderStats
from gateway.admin.trace_commands import traces_of
from gateway.admin.webhook_stats import WebhookStats
from gateway.admin.worker_commands import WorkerCommands
from gateway.api.health import Check, HealthSources, health_routes
from gateway.api.home_calls import HomeCalls
from gateway.api.pages import page_endpoints
from gateway.auth.client_identifier import ClientIdentifier
from gateway.auth.jwks import Jwks
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.build import VERSION
from gateway.cache.cache import ResponseCache
from gateway.cache.host_memory import HostMemory, HostRegion
from gateway.cache.host_tier import HostTier
from gateway.compose.background import Background
from gateway.compose.erasure import open_eraser
from gateway.compose.events import open_webhooks, publish_on_topic, webhook_commands
from gateway.compose.order_parts import start_order_parts
from gateway.compose.order_tools import open_order_commands
from gateway.compose.orders import OrderBackends
from gateway.compose.outbox import open_dispatcher, open_outbox
from gateway.compose.shop import Shop, open_shop
from gateway.config.policies import Policies
from gateway.control.commands import Command
from gateway.http.contained import FAILURES
from gateway.http.message import Request
from gateway.http.router import Router
from gateway.metrics import Observed
from gateway.pipeline.degraded import Degraded
from gateway.pipeline.edge_state import EdgeState
from gateway.pipeline.switch_board import SwitchBoard
from gateway.policies.active import ActivePolicies, read_secret
from gateway.policies.own_paths import own_path
from gateway.policies.prewarm import Prewarmer
from gateway.policies.reload import Prepare
from gateway.policies.router_builder import Backends, Surface
from gateway.policies.schedule import effective_policies
from gateway.policies.tariff import tariff_of
from gateway.policies.timetable import Timetable
from gateway.policies.webhook_endpoints import WebhookEndpoints
from gateway.prerequisites import CannotStart, StoreAddress, StoreRecheck, restore_shared, shared_secret
from gateway.proxy.regions import Regions
from gateway.proxy.upstreams import Upstreams
from gateway.ratelimit.redis_quota import PARTITIONS as QUOTA_PARTITIONS
from gateway.ratelimit.redis_quota import RedisQuota
from gateway.resilience.breaker_model import State
from gateway.resilience.shedder import Shedder
from gateway.resilience.shedding import IsReplay
from gateway.resilience.store_history import StoreHistory
from gateway.resilience.upstream_guard import UpstreamGuards
from gateway.server.early_reject import EarlyReject
from gateway.server.server import EdgeServer
from gateway.settings import Settings
from gateway.tracing.request_tracer import RequestTracer
from gateway.waitingroom.redis_rooms import RedisRooms
from gateway.waitingroom.reporter import RoomReporter, Signals
from gateway.waitingroom.rooms import Rooms
from primitives.stream_limit import StreamLimit
from primitives.tracing.tracer import Tracer
from store import StoreClient, StoreError, is_cluster

# Pings without a reply, of 0.25 s each, after which a stopping worker waits for the store no longer.
_LAST_PINGS: Final = 3

# A request waits for its limits and then for its handler, and limits have a fallback: so they wait for a tenth of the time.
QUOTA_SHARE_OF_TIMEOUT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Gateway:
    """A worker ready to serve: its server, its commands by name, and the preparation of other policies.

    `prepare_close` is awaited between the drain of the server and the close of everything.
    """

    edge: EdgeServer
    commands: Mapping[str, Command]
    prepare: Prepare
    prepare_close: Callable[[], Awaitable[None]]


async def open_edge(
    settings: Settings,
    store: StoreAddress,
    backends: OrderBackends,
    stack: AsyncExitStack,
    background: Background,
    *,
    check_store: Check,
    history: StoreHistory,
    recheck: StoreRecheck,
    worker_name: str,
    host_region: HostRegion | None = None,
    orders: OrderStats | None = None,
    archiving: ArchiveStats | None = None,
    tracer: Tracer | None = None,
) -> Gateway:
    """Open the server of the process: its routes behind the layers of the edge. Raises `CannotStart`.

    `check_store` raises where the store takes no writes. `orders` is the order worker of the process, `archiving` its work on the archive, and
    `tracer` traces requests, if it has them.
    """
    client, breakers = backends.client, backends.breakers
    webhooks = await open_webhooks(backends, background, stack)
    await publish_on_topic(settings, backends, background, stack)
    policies = effective_policies(settings.policies, datetime.now(UTC))
    secret = await shared_secret(client)
    history.on_emptied(partial(restore_shared, client, secret))
    jwks = Jwks(policies.shoppers.jwks_url, refresh_s=policies.shoppers.jwks_refresh_s)
    upstreams = Upstreams(policies.all_upstreams, limits=settings.head_limits)
    stack.push_async_callback(upstreams.close)
    host = HostTier(HostMemory(host_region)) if host_region is not None else None
    cache = ResponseCache(policies.cache, store=client, host=host)
    stack.push_async_callback(cache.close)
    quota = RedisQuota(
        client,
        share=1 / (settings.workers * settings.gateways),
        secret=secret,
        timeout_s=settings.store_timeout * QUOTA_SHARE_OF_TIMEOUT,
        partitions=QUOTA_PARTITIONS if is_cluster(client) else 1,
    )
    stack.push_async_callback(quota.close)
    prices = RedisPriceBook(client)
    tariff = TariffInForce(tariff_of(policies))
    stream_limit = StreamLimit(0, 0)
    regions, degraded = Regions(), Degraded()
    # Beside a shop it sweeps too; workers alone send the messages of operators' acts only.
    receipts = QueueReceipts(open_outbox(backends.client)) if settings.durability == "queue" else None
    dispatcher = open_dispatcher(
        backends,
        stack,
        background,
        sweeps=settings.serves_shoppers,
        on_sent=None if receipts is None else receipts.acknowledged,
        tracer=tracer,
    )
    shedder = Shedder(policies.shedding)
    shop: Shop | None = None
    if settings.serves_shoppers:
        home_calls = HomeCalls(regions, degraded.mark)
        shop = await open_shop(
            settings,
            store,
            backends,
            prices,
            tariff,
            stream_limit,
            stack,
            background,
            dispatch=dispatcher.submit,
            is_queued=None if receipts is None else receipts.is_queued,
            home_calls=home_calls,
            is_strained=lambda: shedder.is_strained or not breakers.are_closed("store"),
        )
    state = EdgeState(
        clients=ClientIdentifier(policies.identity),
        tokens=_tokens(policies, jwks),
        switches=SwitchBoard(policies.switches),
        rooms=Rooms(RedisRooms(client), secret),
        shedder=shedder,
        quota=quota,
        degraded=degraded,
        is_replay=_is_replay(shop),
        event_streams=stream_limit,
        are_prices_stale=lambda: prices.is_stale,
        is_queue_away=lambda: breakers.of("queue").state is not State.CLOSED,
    )
    server = EdgeServer(Router(()), limits=settings.head_limits)
    background.tasks.add(server.watcher)
    trace_prefix = secrets.token_hex(8)
    if tracer is not None:
        server.tracer = RequestTracer(tracer, trace_prefix=trace_prefix, follows_caller=settings.trace_follow)
    _reject_early(server, state.shedder)
    health = HealthSources(
        checks={
            "store": check_store,
            "store history": history.check,
            "store settings": recheck.check,
            "upstreams": upstreams.check,
            **({"orders": orders.check} if orders is not None else {}),
        },
        # The store has replied already during the start, so a worker that no probe has reached yet may still be ready.
        required_at_start=(),
        # An embedded store belongs to this host alone.
        always_required=("store",) if store.is_embedded else (),
        breakers=breakers.states,
        failures=lambda: client.failed + client.refused,
        background=lambda: background.tasks.failing,
        is_leaving=lambda: server.is_leaving,
        server=server,
    )
    routes = (*(shop.routes if shop is not None else ()), *health_routes(health))
    try:
        active = ActivePolicies(
            policies,
            server,
            surface=Surface(
                routes,
                serves_shoppers=settings.serves_shoppers,
                # Rendered again for other paths only: a reload must not hold up requests.
                pages_of=lru_cache(maxsize=1)(lambda api: page_endpoints(routes, VERSION, partial(own_path, api))),
            ),
            state=state,
            backends=Backends(upstreams, regions, cache, breakers, UpstreamGuards(breakers), tariff, trace_prefix),
            jwks=jwks,
            webhooks=WebhookEndpoints(webhooks, backends.events),
        )
    except OSError as error:
        raise CannotStart(f"{error.filename}: {error.strerror}") from error
    stack.push_async_callback(active.close)
    timetable = Timetable(
        settings.policies, effective=policies, apply=active.apply, prewarm=Prewarmer(server, active).fetch
    )
    background.start("waiting rooms", RoomReporter(state.rooms, _signals(state, backends), reporter=worker_name).run)
    background.start("keys of the issuer", jwks.run)
    background.start("load shedding", state.shedder.watch)
    background.start("purges", cache.run)
    background.start("timetable", timetable.run)

    order_parts = start_order_parts(settings, backends, shop, background)

    def parts() -> Mapping[str, Observed]:
        return {
            **active.parts,
            "identity": state.clients,
            "tokens": state.tokens,
            "issuer": jwks,
            "switches": state.switches,
            "rooms": state.rooms,
            "shedding": state.shedder,
            "limits": state.quota,
            "breakers": breakers,
            "store_history": history,
            "upstreams": upstreams,
            "cache": cache,
            "degraded": state.degraded,
            "failures": FAILURES,
            "events": timetable,
            **({"event_streams": shop.event_streams} if shop is not None else {}),
            **({"orders": orders} if orders is not None else {}),
            **({"archive": archiving} if archiving is not None else {}),
            **order_parts,
            **({"traces": server.tracer} if server.tracer is not None else {}),
            "webhooks": WebhookStats(webhooks),
            "event_relays": EventRelayStats(backends.relays),
            "stalled_orders": StalledOrderStats(backends.stalled),
            "background": BackgroundStats(background.tasks),
        }

    order_commands = await open_order_commands(settings, backends, stack, dispatch=dispatcher.submit)
    commands = WorkerCommands(
        parts,
        cache=cache,
        switches=state.switches,
        breakers=breakers,
        rooms=state.rooms,
    )
    return Gateway(
        server,
        {
            **commands.by_name,
            **timetable.commands,
            **order_commands,
            **({"traces": traces_of(tracer)} if tracer is not None else {}),
            **(PriceCommands(shop.price_desk).by_name if shop is not None else {}),
            **webhook_commands(webhooks, backends).by_name,
            **PrivacyCommands(open_eraser(backends)).by_name,
        },
        partial(timetable.prepare, prepare=active.prepare),
        prepare_close=partial(_cut_off_without_store, client, background),
    )


async def _cut_off_without_store(client: StoreClient, background: Background) -> None:
    """Where the store does not answer, no order in progress can finish: each is delivered again, as after a kill."""
    for _ in range(_LAST_PINGS):
        try:
            await client.ping()
        except StoreError:
            continue
        return
    background.is_cut_off = True


def _reject_early(server: EdgeServer, shedder: Shedder) -> None:
    """Reject requests from their bytes while the shedder rejects all of their kind."""
    early = EarlyReject(server, shedder)

    def switch(is_rejecting: bool) -> None:
        server.early_rejecter = early if is_rejecting else None

    shedder.on_shedding_all = switch


def _tokens(policies: Policies, jwks: Jwks) -> ShopperTokens:
    try:
        return ShopperTokens(policies.shoppers, jwks, secret=read_secret(policies))
    except (OSError, ValueError) as error:
        raise CannotStart(f"shoppers.hs256_secret_file: {error}") from error


def _is_replay(shop: Shop | None) -> IsReplay:
    async def is_replay(request: Request) -> bool:
        if shop is None:
            return False
        try:
            return await shop.checkout.is_replay(request.body, idempotency_key=request.headers.get("Idempotency-Key"))
        except StoreError:
            return False  # it could not be replayed either

    return is_replay


def _signals(state: EdgeState, backends: OrderBackends) -> Signals:
    catalog = RedisCatalog(backends.client)

    async def stock_of(skus: Sequence[str]) -> int:
        return sum(level or 0 for level in await catalog.levels([parse_sku(sku) or Sku(sku) for sku in skus]))

    return Signals(
        checkout_shed_share=lambda: state.shedder.shed_share("checkout"),
        queue_age_s=backends.queue.oldest_age_s,
        stock_of=stock_of,
    )

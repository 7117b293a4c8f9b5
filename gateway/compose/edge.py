"""The edge of a worker process: the server, and the layers in front of its routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial

from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.model import Sku
from checkout.handlers import CheckoutHandlers
from gateway.admin.background_stats import BackgroundStats
from gateway.admin.worker_commands import WorkerCommands
from gateway.api.binding import Route
from gateway.api.health import HealthSources, health_routes
from gateway.api.pages import page_endpoints
from gateway.auth.client_identifier import ClientIdentifier
from gateway.auth.jwks import Jwks
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.build import VERSION
from gateway.cache.cache import ResponseCache
from gateway.cache.host_memory import HostMemory, HostRegion
from gateway.cache.host_tier import HostTier
from gateway.compose.background import Background
from gateway.compose.orders import OrderBackends
from gateway.compose.shop import open_shop
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
from gateway.policies.timetable import Timetable
from gateway.prerequisites import CannotStart, StoreAddress, shared_secret
from gateway.proxy.upstreams import Upstreams
from gateway.ratelimit.redis_quota import RedisQuota
from gateway.resilience.breaker_model import State
from gateway.resilience.shedder import Shedder
from gateway.resilience.shedding import IsReplay
from gateway.resilience.upstream_guard import UpstreamGuards
from gateway.server.early_reject import EarlyReject
from gateway.server.server import EdgeServer
from gateway.settings import Settings
from gateway.waitingroom.redis_rooms import RedisRooms
from gateway.waitingroom.reporter import RoomReporter, Signals
from gateway.waitingroom.rooms import Rooms


@dataclass(frozen=True, slots=True)
class Gateway:
    """A worker ready to serve: its server, its commands by name, and the preparation of other policies."""

    edge: EdgeServer
    commands: Mapping[str, Command]
    prepare: Prepare


async def open_edge(
    settings: Settings,
    store: StoreAddress,
    backends: OrderBackends,
    stack: AsyncExitStack,
    background: Background,
    *,
    worker_name: str,
    host_region: HostRegion | None = None,
) -> Gateway:
    """Open the server of the process: its routes behind the layers of the edge. Raises `CannotStart`."""
    client, breakers = backends.client, backends.breakers
    policies = effective_policies(settings.policies, datetime.now(UTC))
    secret = await shared_secret(client)
    jwks = Jwks(policies.shoppers.jwks_url, refresh_s=policies.shoppers.jwks_refresh_s)
    upstreams = Upstreams(policies.upstreams, limits=settings.head_limits)
    stack.push_async_callback(upstreams.close)
    host = HostTier(HostMemory(host_region)) if host_region is not None else None
    cache = ResponseCache(policies.cache, store=client, host=host)
    stack.push_async_callback(cache.close)
    quota = RedisQuota(client, share=1 / (settings.workers * settings.gateways), secret=secret)
    stack.push_async_callback(quota.close)
    prices = RedisPriceBook(client)
    checkout: CheckoutHandlers | None = None
    routes: Sequence[Route] = ()
    if settings.serves_shoppers:
        checkout, routes = await open_shop(settings, backends, prices, stack, background)
    state = EdgeState(
        clients=ClientIdentifier(policies.identity),
        tokens=_tokens(policies, jwks),
        switches=SwitchBoard(policies.switches),
        rooms=Rooms(RedisRooms(client), secret),
        shedder=Shedder(policies.shedding),
        quota=quota,
        degraded=Degraded(),
        is_replay=_is_replay(checkout),
        are_prices_stale=lambda: prices.is_stale,
        is_queue_away=lambda: breakers.of("queue").state is not State.CLOSED,
    )
    server = EdgeServer(Router(()), limits=settings.head_limits)
    _reject_early(server, state.shedder)
    health = HealthSources(
        checks={"store": client.ping, "upstreams": upstreams.check},
        # The store has replied already during the start, so a worker that no probe has reached yet may still be ready.
        required_at_start=(),
        # An embedded store belongs to this host alone.
        always_required=("store",) if store.is_embedded else (),
        breakers=breakers.states,
        background=lambda: background.tasks.failing,
        is_leaving=lambda: server.is_leaving,
        server=server,
    )
    routes = (*routes, *health_routes(health))
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
            backends=Backends(upstreams, cache, breakers, UpstreamGuards(breakers)),
            jwks=jwks,
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
            "upstreams": upstreams,
            "cache": cache,
            "degraded": state.degraded,
            "failures": FAILURES,
            "events": timetable,
            "background": BackgroundStats(background.tasks),
        }

    commands = WorkerCommands(parts, cache=cache, switches=state.switches, breakers=breakers)
    return Gateway(server, commands.by_name, partial(timetable.prepare, prepare=active.prepare))


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


def _is_replay(checkout: CheckoutHandlers | None) -> IsReplay:
    async def is_replay(request: Request) -> bool:
        return checkout is not None and await checkout.is_known_idempotency_key(request.headers.get("Idempotency-Key"))

    return is_replay


def _signals(state: EdgeState, backends: OrderBackends) -> Signals:
    catalog = RedisCatalog(backends.client)

    async def stock_of(skus: Sequence[str]) -> int:
        return sum(level or 0 for level in await catalog.levels([Sku(sku) for sku in skus]))

    return Signals(
        checkout_shed_share=lambda: state.shedder.shed_share("checkout"),
        queue_age_s=backends.queue.oldest_age_s,
        stock_of=stock_of,
    )

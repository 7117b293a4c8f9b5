"""The composition root: opens, builds and closes everything a process needs, by plain constructor calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cart.catalog.handlers import ProductHandlers
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.catalog.sqlite_search import SqliteSearch
from cart.handlers import CartHandlers
from cart.model import Sku
from cart.redis_carts import RedisCarts
from checkout.errors import DependencyTripped
from checkout.guarded import GuardedPayments, GuardedShipping, GuardedSink, is_service_failure
from checkout.handlers import CheckoutHandlers
from checkout.message import order_accepted
from checkout.outbox import OutboxDispatcher
from checkout.queues.redis_queue import RedisQueue
from checkout.redis_orders import RedisOrders
from checkout.redis_outbox import RedisOutbox
from checkout.redis_stock import RedisStock
from checkout.sandbox import SandboxNotifications, SandboxPayments, SandboxShipping
from checkout.sweeper import StockSweeper
from checkout.worker import OrderWorker
from checkout.workflow import Workflow, order_steps
from gateway.admin.background_stats import BackgroundStats
from gateway.admin.worker_commands import WorkerCommands
from gateway.api.binding import Route
from gateway.api.health import HealthSources, health_routes
from gateway.api.pages import page_endpoints
from gateway.api.routes import cart_routes, checkout_routes, product_routes
from gateway.auth.client_identifier import ClientIdentifier
from gateway.auth.jwks import Jwks
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.build import VERSION
from gateway.cache.cache import ResponseCache
from gateway.config.policies import Policies
from gateway.control.commands import Command
from gateway.http.message import Request
from gateway.http.router import Router
from gateway.metrics import Observed
from gateway.pipeline.degraded import Degraded
from gateway.pipeline.edge_state import EdgeState
from gateway.pipeline.switch_board import SwitchBoard
from gateway.policies.active import ActivePolicies, read_secret
from gateway.policies.prewarm import Prewarmer
from gateway.policies.reload import Prepare
from gateway.policies.router_builder import Backends, Surface
from gateway.policies.schedule import effective_policies
from gateway.policies.timetable import Timetable
from gateway.prerequisites import (
    BLOCKING_DEADLINE_S,
    CannotStart,
    StoreAddress,
    check_data_dir,
    durability,
    open_store,
    shared_secret,
)
from gateway.proxy.upstreams import Upstreams
from gateway.ratelimit.redis_quota import RedisQuota
from gateway.resilience.breaker_model import State
from gateway.resilience.breakers import Breakers
from gateway.resilience.guarded_search import GuardedSearch, is_search_failure
from gateway.resilience.shedder import Shedder
from gateway.resilience.shedding import IsReplay
from gateway.resilience.store_guard import StoreGuard
from gateway.resilience.upstream_guard import UpstreamGuards
from gateway.server.early_reject import EarlyReject
from gateway.server.server import EdgeServer
from gateway.settings import Settings
from gateway.waitingroom.keeper import RoomKeeper, Signals
from gateway.waitingroom.redis_rooms import RedisRooms
from gateway.waitingroom.rooms import Rooms
from primitives.background import BackgroundTasks
from store import Client, StoreUnavailable

if TYPE_CHECKING:
    from checkout.queues.sqs_queue import SqsQueue

_DAY_S: Final = 86_400
# Orders that are not sent by then are sent by the sweep of another process.
_OUTBOX_DRAIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """A worker ready to serve: its server, its commands by name, and the preparation of other policies."""

    edge: EdgeServer
    commands: Mapping[str, Command]
    prepare: Prepare


@dataclass(frozen=True, slots=True)
class _Till:
    """The parts that taking orders and working them off share."""

    client: Client
    orders: RedisOrders
    stock: RedisStock
    queue: RedisQueue | SqsQueue
    breakers: Breakers


async def gateway(settings: Settings, store: StoreAddress, stack: AsyncExitStack, *, worker_name: str) -> Gateway:
    """Build one worker process. `worker_name` differs from those of other workers, and is the same after a restart.

    Everything opened is closed by `stack`, in reverse: orders in progress are finished before the store is closed.
    Raises `CannotStart`.
    """
    background = _Background(stack)
    breakers = Breakers(settings.policies.breaker)
    client = await open_store(store.url, stack)
    background.start("store guard", StoreGuard(client, breakers.of("store")).watch)
    queue = await _queue(settings, store, client, stack, worker_name=worker_name)
    orders = RedisOrders(client, durability=await durability(settings, store, client, stack))
    till = _Till(client, orders, RedisStock(client), queue, breakers)
    if settings.works_orders:
        _work_orders(settings, till, background)
    return await _edge(settings, store, till, stack, background, worker_name=worker_name)


async def _edge(
    settings: Settings,
    store: StoreAddress,
    till: _Till,
    stack: AsyncExitStack,
    background: _Background,
    *,
    worker_name: str,
) -> Gateway:
    """The server of the process: its routes behind the layers of the edge."""
    client, breakers = till.client, till.breakers
    policies = effective_policies(settings.policies, datetime.now(UTC))
    secret = await shared_secret(client)
    jwks = Jwks(policies.shoppers.jwks_url, refresh_s=policies.shoppers.jwks_refresh_s)
    upstreams = Upstreams(policies.upstreams)
    stack.push_async_callback(upstreams.close)
    cache = ResponseCache(policies.cache, store=client)
    stack.push_async_callback(cache.close)
    quota = RedisQuota(client, share=1 / (settings.workers * settings.gateways), secret=secret)
    stack.push_async_callback(quota.close)
    prices = RedisPriceBook(client)
    checkout: CheckoutHandlers | None = None
    routes: Sequence[Route] = ()
    if settings.serves_shoppers:
        checkout, routes = await _shop(settings, till, prices, stack, background)
    health = HealthSources(
        checks={"store": client.ping, "upstreams": upstreams.check},
        # The store has replied already during the start, so a worker that no probe has reached yet may still be ready.
        required_at_start=(),
        # An embedded store belongs to this host alone.
        always_required=("store",) if store.is_embedded else (),
        breakers=breakers.states,
        background=lambda: background.tasks.failing,
    )
    routes = (*routes, *health_routes(health))
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
    server = EdgeServer(Router(()))
    health.server = server
    _reject_early(server, state.shedder)
    pages = page_endpoints(routes, VERSION)
    try:
        active = ActivePolicies(
            policies,
            server,
            surface=Surface(routes, pages, serves_shoppers=settings.serves_shoppers),
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
    signals = Signals(
        checkout_shed_share=lambda: state.shedder.shed_share("checkout"),
        queue_age_s=till.queue.oldest_age_s,
        stock_of=_stock_of(RedisCatalog(client)),
    )
    background.start("waiting rooms", RoomKeeper(state.rooms, signals, reporter=worker_name).run)
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


def _stock_of(catalog: RedisCatalog) -> Callable[[Sequence[str]], Awaitable[int]]:
    async def stock_of(skus: Sequence[str]) -> int:
        return sum(level or 0 for level in await catalog.levels([Sku(sku) for sku in skus]))

    return stock_of


async def _shop(
    settings: Settings, till: _Till, prices: RedisPriceBook, stack: AsyncExitStack, background: _Background
) -> tuple[CheckoutHandlers, Sequence[Route]]:
    """Everything shoppers call."""
    catalog = RedisCatalog(till.client)
    search = GuardedSearch(
        await _search(settings.data_dir, stack), till.breakers.of("search", is_failure=is_search_failure)
    )
    carts = RedisCarts(till.client)
    outbox = RedisOutbox(till.client)
    dispatcher = OutboxDispatcher(outbox, GuardedSink(till.queue, till.breakers.of("queue")))
    checkout = CheckoutHandlers(
        orders=till.orders,
        stock=till.stock,
        prices=prices,
        merges=carts,
        message=order_accepted,
        dispatch=dispatcher.submit,
    )
    background.start("prices", prices.watch)
    background.start("stock sweeper", StockSweeper(till.orders, till.stock).run)
    background.start("outbox", dispatcher.run)
    stack.push_async_callback(dispatcher.drain, _OUTBOX_DRAIN_S)
    stack.push_async_callback(checkout.close)
    return checkout, (
        *cart_routes(
            CartHandlers(
                carts,
                prices,
                default_currency=settings.currency,
                max_lines=settings.max_lines,
                max_quantity=settings.max_quantity,
                anonymous_ttl_s=int(settings.anonymous_cart_days * _DAY_S),
                owned_ttl_s=int(settings.owned_cart_days * _DAY_S),
            )
        ),
        *product_routes(ProductHandlers(prices=prices, stock=catalog, search=search, show_stock=settings.show_stock)),
        *checkout_routes(checkout),
    )


def _work_orders(settings: Settings, till: _Till, background: _Background) -> None:
    """Everything that works off accepted orders."""
    guard = partial(till.breakers.of, is_failure=is_service_failure)
    steps = order_steps(
        stock=till.stock,
        payments=GuardedPayments(SandboxPayments(), guard("payment")),
        shipping=GuardedShipping(SandboxShipping(), guard("shipping")),
        notifications=SandboxNotifications(),
    )
    worker = OrderWorker(
        *(till.queue, Workflow(till.orders, steps)),
        concurrency=settings.order_concurrency,
        drain_s=settings.drain_timeout,
        # Else a long outage of the store would use up the deliveries of a queue that is elsewhere.
        is_outage=lambda error: isinstance(error, DependencyTripped | StoreUnavailable),
    )
    background.start("order worker", worker.run, stop=worker.stop)


async def _queue(
    settings: Settings, store: StoreAddress, client: Client, stack: AsyncExitStack, *, worker_name: str
) -> RedisQueue | SqsQueue:
    if settings.queue_url is not None:
        return await _sqs_queue(settings, settings.queue_url, stack)
    # A blocking read holds up everything behind it on its connection.
    blocking = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S) if settings.works_orders else client
    return RedisQueue(client, blocking, consumer=worker_name)


async def _sqs_queue(settings: Settings, queue_url: str, stack: AsyncExitStack) -> SqsQueue:
    # Slow to import, and most do without.
    from checkout.queues.sqs_queue import open_sqs_queue

    opening = open_sqs_queue(queue_url, endpoint_url=settings.aws_endpoint_url, region=settings.aws_region)
    try:
        return await stack.enter_async_context(opening)
    except ValueError as error:
        raise CannotStart(str(error)) from error


async def check_queue(settings: Settings) -> None:
    """See that the queue is named as it must be; it is not asked anything yet. Raises `CannotStart`."""
    if settings.queue_url is not None:
        async with AsyncExitStack() as stack:
            await _sqs_queue(settings, settings.queue_url, stack)


# The catalogue


async def _search(data_dir: Path, stack: AsyncExitStack) -> SqliteSearch:
    check_data_dir(data_dir)
    search = SqliteSearch(data_dir / "search.sqlite3")
    await search.open()
    stack.push_async_callback(search.close)
    return search


async def open_catalog(
    settings: Settings, store: StoreAddress, stack: AsyncExitStack
) -> tuple[RedisCatalog, SqliteSearch]:
    """The catalogue and the search index that an import writes to. Raises `CannotStart`."""
    client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
    return RedisCatalog(client), await _search(settings.data_dir, stack)


# Background


class _Background:
    """The background tasks of the process, each closed by the stack in its place."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.tasks = BackgroundTasks()

    def start(self, name: str, run: Callable[[], Awaitable[None]], *, stop: Callable[[], object] | None = None) -> None:
        """Run a task under supervision until the stack closes."""
        self._stack.push_async_callback(self.tasks.start(name, run, stop=stop).close)

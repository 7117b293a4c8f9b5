"""The composition root: opens, builds and closes everything a process needs, by plain constructor calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from cart.catalog.handlers import ProductHandlers
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.catalog.sqlite_search import SqliteSearch
from cart.handlers import CartHandlers
from cart.model import PARTITIONS
from cart.redis_carts import RedisCarts
from checkout.durability import AofWait, Durability, OnReply, fsync_policy
from checkout.handlers import CheckoutHandlers
from checkout.message import order_accepted
from checkout.outbox import OutboxDispatcher
from checkout.ports import OrderQueue
from checkout.queues.redis_queue import RedisQueue
from checkout.redis_orders import RedisOrders
from checkout.redis_outbox import RedisOutbox
from checkout.redis_stock import RedisStock
from checkout.sandbox import SandboxNotifications, SandboxPayments, SandboxShipping
from checkout.sweeper import StockSweeper
from checkout.worker import OrderWorker
from checkout.workflow import Workflow, order_steps
from gateway.api.binding import Route, bind
from gateway.api.health import Vitals, health_routes
from gateway.api.pages import page_endpoints
from gateway.api.router import Endpoint, Router
from gateway.api.routes import cart_routes, checkout_routes, product_routes
from gateway.edge import stacks
from gateway.server.commands import Command
from gateway.server.edge_server import EdgeServer
from gateway.settings import Settings
from store import Client, ReplyError, StoreError, open_client

_log = logging.getLogger("peakgate")

SLOW_ROUTE_DEADLINE_S: Final = 10.0
_DAY_S: Final = 86_400
_BLOCKING_DEADLINE_S: Final = 5.0
# What is not sent by then is found by another process' sweep.
_OUTBOX_DRAIN_S: Final = 2.0
_OLDEST_STORE: Final = {"redis": (7, 0), "valkey": (7, 2)}
_PARTITIONS_KEY: Final = "peakgate:partitions"


class CannotStart(Exception):
    """Something outside is not as it must be; the text says what."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is, and whether it is the embedded one."""

    url: str
    is_embedded: bool


@dataclass(frozen=True, slots=True)
class Gateway:
    """A process ready to serve, and what it does for the control process, by name."""

    edge: EdgeServer
    commands: Mapping[str, Command] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Till:
    """What taking orders and working them off share."""

    client: Client
    orders: RedisOrders
    stock: RedisStock
    queue: OrderQueue


async def gateway(settings: Settings, store: StoreAddress, stack: AsyncExitStack, *, worker_name: str) -> Gateway:
    """Build one worker process. `worker_name` tells it from the workers beside it, and is the same after a restart.

    What is opened is closed by `stack`, in reverse: orders in hand are finished before the store goes.
    Raises `CannotStart`.
    """
    client = await _open(store.url, stack)
    queue = await _queue(settings, store, client, stack, worker_name=worker_name)
    orders = RedisOrders(client, durability=await _durability(settings, store, client, stack))
    till = _Till(client, orders, RedisStock(client), queue)
    if settings.works_orders:
        _work_orders(settings, till, stack)
    routes = await _shop(settings, till, stack) if settings.serves_shoppers else ()
    vitals = Vitals(checks={"store": lambda: client.execute("PING")})
    routes = (*routes, *health_routes(vitals))
    vitals.edge = EdgeServer(Router([*map(_endpoint, routes), *page_endpoints(routes, version("peakgate"))]))
    return Gateway(vitals.edge)


def _endpoint(route: Route) -> Endpoint:
    layers = stacks.hot() if route.hot else stacks.slow(deadline_s=SLOW_ROUTE_DEADLINE_S)
    return Endpoint(route.method, route.path, layers(bind(route)), hot=route.hot, body_limit=route.body_limit)


async def _shop(settings: Settings, till: _Till, stack: AsyncExitStack) -> Sequence[Route]:
    """Everything shoppers call."""
    prices = RedisPriceBook(till.client)
    catalog = RedisCatalog(till.client)
    search = await _search(settings.data_dir, stack)
    carts = RedisCarts(till.client)
    outbox = RedisOutbox(till.client)
    dispatcher = OutboxDispatcher(outbox, till.queue)
    checkout = CheckoutHandlers(
        orders=till.orders,
        stock=till.stock,
        prices=prices,
        merges=carts,
        message=order_accepted,
        dispatch=dispatcher.submit,
    )
    _run_beside(stack, "prices", prices.watch())
    _run_beside(stack, "stock sweeper", StockSweeper(till.orders, till.stock).run())
    _run_beside(stack, "outbox", dispatcher.run())
    stack.push_async_callback(dispatcher.drain, _OUTBOX_DRAIN_S)
    stack.push_async_callback(checkout.close)
    return (
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


def _work_orders(settings: Settings, till: _Till, stack: AsyncExitStack) -> None:
    """Everything that works off accepted orders."""
    steps = order_steps(
        stock=till.stock, payments=SandboxPayments(), shipping=SandboxShipping(), notifications=SandboxNotifications()
    )
    worker = OrderWorker(
        till.queue, Workflow(till.orders, steps), concurrency=settings.order_concurrency, drain_s=settings.drain_timeout
    )
    _run_beside(stack, "order worker", worker.run(), stop=worker.stop)


async def _queue(
    settings: Settings, store: StoreAddress, client: Client, stack: AsyncExitStack, *, worker_name: str
) -> OrderQueue:
    if settings.queue_url is not None:
        return await _sqs_queue(settings, settings.queue_url, stack)
    # A blocking read holds up everything behind it on its connection.
    blocking = await _open(store.url, stack, deadline_s=_BLOCKING_DEADLINE_S) if settings.works_orders else client
    return RedisQueue(client, blocking, consumer=worker_name)


async def _sqs_queue(settings: Settings, queue_url: str, stack: AsyncExitStack) -> OrderQueue:
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


# The store


async def check_store(settings: Settings, store: StoreAddress) -> None:
    """See that the store is there, new enough, laid out as we know it, and as durable as was asked. Raises `CannotStart`."""
    async with AsyncExitStack() as stack:
        client = await _open(store.url, stack, deadline_s=_BLOCKING_DEADLINE_S)
        try:
            _check_version(_versions(await client.execute("INFO", "server")))
            await _check_partitions(client)
            if settings.durability == "aof":
                await _check_durability(client)
        except StoreError as error:
            raise CannotStart(f"the store does not answer as it should: {error}") from error


def _check_version(found: Mapping[str, tuple[int, ...]]) -> None:
    for name, oldest in _OLDEST_STORE.items():
        if found.get(name, oldest) < oldest:
            wanted, has = (".".join(map(str, number)) for number in (oldest, found[name]))
            raise CannotStart(f"the store is {name} {has}; {wanted} or newer is needed")


async def _check_partitions(client: Client) -> None:
    """Ids begin with their partition, so a store filled with another number of them would not be found again."""
    recorded = await client.execute("SET", _PARTITIONS_KEY, PARTITIONS, "NX", "GET")
    if recorded is not None and int(recorded) != PARTITIONS:
        raise CannotStart(f"the store was filled with {int(recorded)} partitions; this Peakgate has {PARTITIONS}")


async def _check_durability(client: Client) -> None:
    policy = await fsync_policy(client)
    if policy == "off":
        raise CannotStart("--durability aof needs a store with an append-only file (appendonly yes)")
    if policy != "always":
        try:
            await AofWait(client).probe()
        except ReplyError as error:
            raise CannotStart(
                f"--durability aof needs a store with appendfsync always, or one that knows WAITAOF: {error}"
            ) from error


def _versions(info: bytes | str) -> Mapping[str, tuple[int, ...]]:
    """The versions that INFO tells: Valkey tells both its own and the Redis it is compatible with."""
    text = info.decode() if isinstance(info, bytes) else info
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {
        name: tuple(int(part) for part in lines[f"{name}_version"].split(".")[:2])
        for name in _OLDEST_STORE
        if f"{name}_version" in lines
    }


async def _durability(settings: Settings, store: StoreAddress, client: Client, stack: AsyncExitStack) -> Durability:
    level = settings.durability or ("aof" if store.is_embedded else "memory")
    # Where the server flushes its file before each reply, the reply says all there is to say.
    if level == "memory" or await fsync_policy(client) == "always":
        return OnReply(client)
    return AofWait(await _open(store.url, stack, deadline_s=_BLOCKING_DEADLINE_S))


async def _open(url: str, stack: AsyncExitStack, **options: float) -> Client:
    try:
        client = await open_client(url, **options)  # type: ignore[arg-type]
    except (StoreError, ValueError) as error:
        raise CannotStart(str(error)) from error
    stack.push_async_callback(client.close)
    return client


# The catalogue


async def _search(data_dir: Path, stack: AsyncExitStack) -> SqliteSearch:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything is served
    except OSError as error:
        raise CannotStart(f"cannot use the data directory {data_dir}: {error.strerror}") from error
    search = SqliteSearch(data_dir / "search.sqlite3")
    await search.open()
    stack.push_async_callback(search.close)
    return search


async def open_catalog(
    settings: Settings, store: StoreAddress, stack: AsyncExitStack
) -> tuple[RedisCatalog, SqliteSearch]:
    """What an import writes to. Raises `CannotStart`."""
    client = await _open(store.url, stack, deadline_s=_BLOCKING_DEADLINE_S)
    return RedisCatalog(client), await _search(settings.data_dir, stack)


# Background


def _run_beside(
    stack: AsyncExitStack, name: str, work: Coroutine[Any, Any, None], *, stop: Callable[[], object] | None = None
) -> None:
    """Run `work` until the stack closes; then `stop` it and wait for its end, or cancel it."""
    task = asyncio.create_task(work, name=name)

    def report(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.critical("%s stopped working", name, exc_info=error)

    task.add_done_callback(report)

    async def end() -> None:
        stopped = stop() if stop is not None else task.cancel()
        if asyncio.iscoroutine(stopped):
            await stopped
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task

    stack.push_async_callback(end)

"""Orders: where they are stored and queued, and the worker that processes them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from checkout.errors import DependencyTripped
from checkout.guarded import GuardedPayments, GuardedShipping, is_service_failure
from checkout.queues.redis_queue import RedisQueue
from checkout.redis_orders import RedisOrders
from checkout.redis_stock import RedisStock
from checkout.sandbox import SandboxNotifications, SandboxPayments, SandboxShipping
from checkout.worker import OrderWorker
from checkout.workflow import Workflow, order_steps
from gateway.compose.background import Background
from gateway.prerequisites import BLOCKING_DEADLINE_S, CannotStart, StoreAddress, durability, open_store
from gateway.resilience.breakers import Breakers
from gateway.settings import Settings
from store import Client, StoreUnavailable

if TYPE_CHECKING:
    from checkout.queues.sqs_queue import SqsQueue


@dataclass(frozen=True, slots=True)
class OrderBackends:
    """The parts that accepting and processing orders share."""

    client: Client
    orders: RedisOrders
    stock: RedisStock
    queue: RedisQueue | SqsQueue
    breakers: Breakers


async def open_order_backends(
    settings: Settings,
    store: StoreAddress,
    client: Client,
    breakers: Breakers,
    stack: AsyncExitStack,
    *,
    worker_name: str,
) -> OrderBackends:
    """Open the queue and the stored orders; `client` is the connection of the process. Raises `CannotStart`."""
    queue = await _open_queue(settings, store, client, stack, worker_name=worker_name)
    orders = RedisOrders(client, durability=await durability(settings, store, client, stack))
    return OrderBackends(client, orders, RedisStock(client), queue, breakers)


def start_order_worker(settings: Settings, backends: OrderBackends, background: Background) -> None:
    """Process accepted orders in the background."""
    guard = partial(backends.breakers.of, is_failure=is_service_failure)
    steps = order_steps(
        stock=backends.stock,
        payments=GuardedPayments(SandboxPayments(), guard("payment")),
        shipping=GuardedShipping(SandboxShipping(), guard("shipping")),
        notifications=SandboxNotifications(),
    )
    worker = OrderWorker(
        backends.queue,
        Workflow(backends.orders, steps),
        concurrency=settings.order_concurrency,
        drain_s=settings.drain_timeout,
        # Else a long outage of the store would use up the deliveries of a queue that is elsewhere.
        is_outage=lambda error: isinstance(error, DependencyTripped | StoreUnavailable),
    )
    background.start("order worker", worker.run, stop=worker.stop)


async def check_queue(settings: Settings) -> None:
    """Check the name of the queue, without a call to it. Raises `CannotStart`."""
    if settings.queue_url is not None:
        async with AsyncExitStack() as stack:
            await _open_sqs_queue(settings, settings.queue_url, stack)


async def _open_queue(
    settings: Settings, store: StoreAddress, client: Client, stack: AsyncExitStack, *, worker_name: str
) -> RedisQueue | SqsQueue:
    if settings.queue_url is not None:
        return await _open_sqs_queue(settings, settings.queue_url, stack)
    # A blocking read delays every later command on its connection.
    blocking = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S) if settings.works_orders else client
    return RedisQueue(client, blocking, consumer=worker_name)


async def _open_sqs_queue(settings: Settings, queue_url: str, stack: AsyncExitStack) -> SqsQueue:
    # Slow to import, and seldom needed.
    from checkout.queues.sqs_queue import open_sqs_queue

    opening = open_sqs_queue(queue_url, endpoint_url=settings.aws_endpoint_url, region=settings.aws_region)
    try:
        return await stack.enter_async_context(opening)
    except ValueError as error:
        raise CannotStart(str(error)) from error

"""Orders: where they are stored and queued, and the worker that processes them."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cart.model import DAY_MS, Limits, OrderId
from checkout.archive.messages import ArchivedMessages
from checkout.attention import AttentionWatch, OrderDesk
from checkout.dispatch import Dispatch
from checkout.errors import ChangeNotDurable
from checkout.events.relay import EventRelay
from checkout.events.sinks import EventSinks
from checkout.fact_handlers import fact_handlers
from checkout.fact_intake import FactIntake
from checkout.guarded import GuardedPayments, GuardedShipping, is_service_failure
from checkout.low_stock import LowStock
from checkout.message import order_accepted
from checkout.payments.order_payments import OrderPayments
from checkout.ports.keys import KeysUnavailable
from checkout.ports.order_index import OrderIndex
from checkout.ports.orders import Orders
from checkout.ports.payments import PaymentProvider
from checkout.ports.services import Guard, Shipping
from checkout.processor import LEASE_S, Later, OrderProcessor
from checkout.queues.redis_queue import RedisQueue
from checkout.redis.in_flight import RedisInFlight
from checkout.redis.low_stock import RedisLowStockList
from checkout.redis.orders import RedisOrders
from checkout.redis.progress import RedisProgress
from checkout.redis.stock import MAX_LINES, RedisStock
from checkout.sandbox import SandboxNotifications
from checkout.shipping.desk import ShipmentDesk
from checkout.stalled_orders import StalledOrders
from checkout.worker import OrderWorker
from checkout.workflow.runner import TableSteps, Workflow, order_steps
from checkout.workflow.step_tasks import StepTasks
from gateway.admin.order_flow import OrderFlow
from gateway.admin.order_stats import OrderStats
from gateway.admin.step_times import StepTimes
from gateway.compose.archive import OrderArchive, open_readable_orders
from gateway.compose.background import Background
from gateway.compose.privacy import Privacy, open_privacy
from gateway.compose.sinks import enabled_sinks
from gateway.prerequisites import CannotStart, StoreAddress, durability, open_companion
from gateway.resilience.breaker import Breaker
from gateway.resilience.breakers import Breakers
from gateway.resilience.uncounted import Uncounted
from gateway.settings import Settings
from primitives.tracing.tracer import Tracer
from store import PinnedStore, ReplyError, StoreClient, StoreError, is_cluster

if TYPE_CHECKING:
    from checkout.queues.sqs_queue import SqsQueue


# Of `StalledOrders`.
MARGIN_S: Final = 60.0
SQS_MARGIN_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class OrderBackends:
    """The parts that accepting and processing orders share."""

    client: StoreClient
    pinned: PinnedStore
    # Those of the store, for workers; the others read from the archive too, if there is one.
    orders: RedisOrders
    readable: Orders
    index: OrderIndex
    archive: OrderArchive | None
    progress: RedisProgress
    stock: RedisStock
    queue: RedisQueue | SqsQueue
    stalled: StalledOrders
    breakers: Breakers
    # Events of orders, and the relays of this process, which the parts of the process add.
    events: EventSinks
    relays: list[EventRelay]
    privacy: Privacy
    flow: OrderFlow


async def open_order_backends(
    settings: Settings,
    store: StoreAddress,
    client: StoreClient,
    breakers: Breakers,
    stack: AsyncExitStack,
    *,
    worker_name: str,
) -> OrderBackends:
    """Open the queue and the stored orders; `client` is the connection of the process. Raises `CannotStart`."""
    pinned = PinnedStore(client)
    queue = await _open_queue(settings, store, client, stack, worker_name=worker_name)
    limits = Limits(
        anonymous_ttl_ms=int(settings.anonymous_cart_days * DAY_MS), owned_ttl_ms=int(settings.owned_cart_days * DAY_MS)
    )
    events = EventSinks(*enabled_sinks(settings))
    privacy = await open_privacy(settings, client, stack)
    flow = OrderFlow()
    orders = RedisOrders(
        pinned,
        durability=await durability(settings, store, client, stack),
        codec=privacy.codec,
        owner_name=privacy.pseudonyms.of_owner,
        limits=limits,
        events=events,
        observer=flow,
    )
    readable = await open_readable_orders(settings, pinned, orders, privacy, breakers, stack)
    # SQS does not know the age of its oldest message.
    margin_s = SQS_MARGIN_S if settings.queue_url is not None else MARGIN_S
    return OrderBackends(
        client=client,
        pinned=pinned,
        orders=orders,
        readable=readable.orders,
        index=readable.index,
        archive=readable.archive,
        progress=RedisProgress(pinned, lease_ms=round(LEASE_S * 1000), codec=privacy.codec),
        stock=RedisStock(
            pinned,
            per_shopper_ms=int(settings.per_shopper_days * DAY_MS),
            lines_per_call=1 if is_cluster(client) else MAX_LINES,
        ),
        queue=queue,
        stalled=StalledOrders(RedisInFlight(pinned), orders, queue, order_accepted, margin_s=margin_s),
        breakers=breakers,
        events=events,
        relays=[],
        privacy=privacy,
        flow=flow,
    )


@dataclass(frozen=True, slots=True)
class OrderProcessing:
    """The processor of orders, the function that runs the order of a message, and the times of the steps."""

    processor: OrderProcessor
    process: Callable[[OrderId], Awaitable[Later | None]]
    step_times: StepTimes


def order_processor(
    settings: Settings,
    backends: OrderBackends,
    *,
    worker_name: str,
    payments: PaymentProvider,
    shipping: Shipping,
) -> OrderProcessing:
    """The parts that process orders, of a worker or of a function."""
    step_times = StepTimes()

    def workflow(guard: Callable[[Breaker], Guard], *, leaves_on_timeout: bool) -> Workflow:
        order_payments, steps = _steps(settings, backends, payments, shipping, guard)
        facts = fact_handlers(stock=backends.stock, payments=order_payments)
        return Workflow(backends.orders, steps, facts=facts, leaves_on_timeout=leaves_on_timeout, observer=step_times)

    processor = OrderProcessor(
        backends.progress,
        workflow(lambda breaker: breaker, leaves_on_timeout=True),
        workflow(Uncounted, leaves_on_timeout=False),
        # A restarted process is another holder: the orders of the one before are those of a dead worker.
        holder=f"{worker_name}:{secrets.token_hex(4)}",
        pinned=backends.pinned.pinned,
        concurrency=settings.order_concurrency,
        patience_s=settings.order_patience,
        is_outage=is_store_outage,
    )
    if backends.archive is None:
        return OrderProcessing(processor, processor.process, step_times)
    return OrderProcessing(processor, ArchivedMessages(processor.process, backends.archive.orders).process, step_times)


def step_tasks(
    settings: Settings, backends: OrderBackends, *, payments: PaymentProvider, shipping: Shipping
) -> StepTasks:
    """The single acts of the workflow, for a state machine that keeps their sequence."""
    order_payments, steps = _steps(settings, backends, payments, shipping, lambda breaker: breaker)
    return StepTasks(backends.orders, steps, facts=fact_handlers(stock=backends.stock, payments=order_payments))


def _steps(
    settings: Settings,
    backends: OrderBackends,
    payments: PaymentProvider,
    shipping: Shipping,
    guard: Callable[[Breaker], Guard],
) -> tuple[OrderPayments, Mapping[int, TableSteps]]:
    """The payments of orders, and the steps of each version of the workflow, behind the breakers of their services."""
    order_payments = OrderPayments(GuardedPayments(payments, guard(_breaker(backends.breakers, "payment"))))
    steps = order_steps(
        index=backends.index,
        stock=backends.stock,
        payments=order_payments,
        shipping=GuardedShipping(shipping, guard(_breaker(backends.breakers, "shipping"))),
        notifications=SandboxNotifications(),
        low_stock=LowStock(RedisLowStockList(backends.client), settings.low_stock) if settings.low_stock else None,
    )
    return order_payments, steps


def start_order_worker(
    settings: Settings,
    backends: OrderBackends,
    background: Background,
    *,
    worker_name: str,
    payments: PaymentProvider,
    shipping: Shipping,
    tracer: Tracer | None = None,
) -> OrderStats:
    """Process accepted orders in the background, and count those that need attention."""
    processing = order_processor(settings, backends, worker_name=worker_name, payments=payments, shipping=shipping)
    worker = OrderWorker(
        backends.queue,
        processing.process,
        concurrency=settings.order_concurrency,
        drain_s=settings.drain_timeout,
        tracer=tracer,
    )
    watch = AttentionWatch(backends.progress, backends.queue)
    background.start("attention", watch.run)
    background.start("stalled orders", backends.stalled.run)
    background.start("order worker", worker.run, stop=worker.stop)
    return OrderStats(worker, processing.processor, watch, processing.step_times)


def order_desk(backends: OrderBackends, dispatch: Dispatch) -> OrderDesk:
    """The acts of operators on orders."""
    return OrderDesk(backends.readable, backends.progress, message=order_accepted, dispatch=dispatch)


def shipment_desk(backends: OrderBackends, dispatch: Dispatch) -> ShipmentDesk:
    """The reports of operators on shipments."""
    intake = FactIntake(backends.readable, message=order_accepted, dispatch=dispatch)
    return ShipmentDesk(backends.readable, intake)


def is_store_outage(error: Exception) -> bool:
    """Whether an error of the store, or of the keys, is that of every order; a wrong type is a broken record of one order."""
    if isinstance(error, ChangeNotDurable | KeysUnavailable):
        return True
    if isinstance(error, ReplyError):
        return error.code not in _BROKEN_RECORD
    return isinstance(error, StoreError)


# A script stops with ERR, for example where a member is not a number.
_BROKEN_RECORD: Final = ("WRONGTYPE", "ERR")


def _breaker(breakers: Breakers, service: str) -> Breaker:
    return breakers.of(service, is_failure=is_service_failure)


async def check_queue(settings: Settings) -> None:
    """Check the name of the queue, without a call to it. Raises `CannotStart`."""
    if settings.queue_url is not None:
        async with AsyncExitStack() as stack:
            await _open_sqs_queue(settings, settings.queue_url, stack)


async def _open_queue(
    settings: Settings, store: StoreAddress, client: StoreClient, stack: AsyncExitStack, *, worker_name: str
) -> RedisQueue | SqsQueue:
    if settings.queue_url is not None:
        return await _open_sqs_queue(settings, settings.queue_url, stack)
    # A blocking read delays every later command on its connection.
    blocking = await open_companion(store, client, stack) if settings.works_orders else client
    return RedisQueue(PinnedStore(client), blocking, consumer=worker_name)


async def _open_sqs_queue(settings: Settings, queue_url: str, stack: AsyncExitStack) -> SqsQueue:
    with sqs_adapter():
        from checkout.queues.sqs_queue import open_sqs_queue

    opening = open_sqs_queue(queue_url, endpoint_url=settings.aws_endpoint_url, region=settings.aws_region)
    try:
        return await stack.enter_async_context(opening)
    except ValueError as error:
        raise CannotStart(str(error)) from error


@contextmanager
def sqs_adapter() -> Iterator[None]:
    """Around the import of an adapter of SQS: slow, seldom needed, and with the libraries of an extra. Raises `CannotStart`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"--queue-url needs the client library of SQS ({error.name} is not installed): "
            f"pip install 'peakgate[aws]', or make install-aws in a clone"
        ) from error
